"""softmax(QKᵀ / √D) V without a T × T score matrix.

Axes: B signals, H heads, T tokens, D channels per head.
"""

import functools
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.attention.varlen import varlen_attn

# Maximum number of scores in memory (bf16), and of queries per block.
SCORES = 8 * 1024 * 1024
QUERIES = 512


def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Attend from every token to every token: (B, H, T, D) each → (B, H, T, D)."""
    if query.device.type == "cpu" and query.dtype == torch.bfloat16 and not has_bf16_flash():
        return _in_blocks(query, key, value)
    return F.scaled_dot_product_attention(query, key, value)


def attend_within(
    query: Tensor, key: Tensor, value: Tensor, *, spans: Sequence[tuple[int, int]], bounds: Tensor, longest: int
) -> Tensor:
    """Attend within each of several signals that lie one after another: (N, H, D) each → (N, H, D).

    On a GPU, bf16 takes flash attention, in one call. It does not exist for float32, which takes memory-efficient
    attention signal by signal. Never cuDNN's: it builds a plan for each new length.

    Parameters
    ----------
    spans
        First row of each signal and the one after its last; the result is undefined in other rows.
    bounds, longest
        The same for flash attention: int32 on the device, where every row belongs to a signal; and the longest one.
    """
    if query.device.type == "cuda" and query.dtype != torch.float32:
        return varlen_attn(query, key, value, bounds, bounds, longest, longest)  # type: ignore[return-value]
    result = torch.zeros_like(query)
    for start, end in spans:
        heads = (rows[start:end].transpose(0, 1)[None] for rows in (query, key, value))  # (1, H, T, D)
        result[start:end] = _efficient(*heads)[0].transpose(0, 1)
    return result


def _efficient(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    if query.device.type == "cpu":
        return attend(query, key, value)
    with sdpa_kernel(SDPBackend.EFFICIENT_ATTENTION):
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
