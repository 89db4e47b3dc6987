"""softmax(QKᵀ / √D) V without a T × T score matrix.

Axes: B signals, H heads, T tokens, D channels per head.
"""

import functools

import torch
import torch.nn.functional as F
from torch import Tensor

# Maximum number of scores in memory (bf16), and of queries per block.
SCORES = 8 * 1024 * 1024
QUERIES = 512


def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Attend from every token to every token: (B, H, T, D) each → (B, H, T, D)."""
    if query.device.type == "cpu" and query.dtype == torch.bfloat16 and not has_bf16_flash():
        return _in_blocks(query, key, value)
    return F.scaled_dot_product_attention(query, key, value)


@functools.cache
def has_bf16_flash() -> bool:
    """Whether torch's CPU attention multiplies bf16 in hardware, which needs AMX."""
    return bool(torch.cpu._is_amx_tile_supported())


def _in_blocks(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Attend in blocks of queries with oneDNN's bf16 products (1.8 times as fast at 5,250 tokens)."""
    result = torch.empty_like(query)
    tokens = query.shape[2]
    block = max(16, min(QUERIES, SCORES // tokens))
    scaled = query * query.shape[-1] ** -0.5
    for signal in range(query.shape[0]):
        for head in range(query.shape[1]):
            keys, values = key[signal, head].contiguous(), value[signal, head].contiguous()
            queries, out = scaled[signal, head].contiguous(), result[signal, head]
            for first in range(0, tokens, block):
                scores = F.linear(queries[first : first + block], keys)
                out[first : first + block] = torch.softmax(scores, dim=-1) @ values
    return result
