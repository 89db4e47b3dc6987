"""Self-attention within each song, over patches that are packed one song after the other."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F
from torch.nn.attention.varlen import varlen_attn

from stages.head.model.packed import Songs

# Queries whose weights are computed at once: bounds their memory, and most songs fit.
ROWS_AT_ONCE = 2048
# `random_` draws 0 to 2¹⁵ − 1 for int16. It is four times as fast as bernoulli_.
_RANDOM_VALUES = 2**15
# Our name: torch's name in `nn.MultiheadAttention`, as in published heads.
TORCH_NAMES = {
    "inputs.weight": "in_proj_weight",
    "inputs.bias": "in_proj_bias",
    "outputs.weight": "out_proj.weight",
    "outputs.bias": "out_proj.bias",
}


class SelfAttention(nn.Module):
    """Multi-head self-attention; songs never see each other, and there is no padding to mask.

    Parameters
    ----------
    width, heads
        Channels per patch, and heads that divide them.
    dropout
        Probability of dropping a weight during training.
    """

    def __init__(self, *, width: int, heads: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.inputs = nn.Linear(width, 3 * width)
        self.outputs = nn.Linear(width, width)
        nn.init.xavier_uniform_(self.inputs.weight)
        nn.init.zeros_(self.inputs.bias)
        nn.init.zeros_(self.outputs.bias)

    def forward(self, patches: Tensor, songs: Songs) -> Tensor:
        """Patches (P, width) → (P, width)."""
        joint = self.inputs(patches).view(len(patches), 3, self.heads, -1)  # (P, 3, heads, channels)
        dropout = self.dropout if self.training else 0.0
        return self.outputs(_attend(joint, songs, dropout))  # type: ignore[no-any-return]


def _attend(joint: Tensor, songs: Songs, dropout: float) -> Tensor:
    """Query, key and value (P, 3, heads, channels) → (P, heads · channels): the fastest way on this device."""
    if joint.device.type == "cpu" and (dropout or joint.dtype == torch.bfloat16):
        seed = int(torch.randint(2**62, ()))
        return _ByProducts.apply(joint, songs.lengths, dropout, seed)  # type: ignore[no-any-return, no-untyped-call]
    if not dropout and has_varlen(joint):
        # One call for all songs. Its backward pass is deterministic under torch.use_deterministic_algorithms.
        query, key, value = joint.unbind(1)
        bounds, longest = songs.bounds, songs.longest
        attended: Tensor = varlen_attn(query, key, value, bounds, bounds, longest, longest)  # type: ignore[assignment]
        return attended.flatten(1)
    if len(set(songs.lengths)) == 1:
        together = joint.unflatten(0, (len(songs.lengths), songs.longest))
        return _attend_batch(together, dropout).flatten(0, 1)
    return torch.cat([_attend_batch(song[None], dropout)[0] for song in joint.split(songs.lengths)])


def has_varlen(joint: Tensor) -> bool:
    """Whether torch's variable-length attention, which is flash attention, takes this type, width and device."""
    if joint.device.type != "cuda" or joint.dtype not in (torch.bfloat16, torch.float16):
        return False
    # Some GPUs have no backward pass for wider heads, and those before Ampere have no flash attention.
    narrow = joint.shape[-1] <= 128 and joint.shape[-1] % 8 == 0
    return narrow and torch.cuda.get_device_capability(joint.device) >= (8, 0)


def _attend_batch(joint: Tensor, dropout: float) -> Tensor:
    """Songs of one length: query, key and value (B, P, 3, heads, channels) → (B, P, heads · channels)."""
    query, key, value = joint.permute(2, 0, 3, 1, 4)  # each (B, heads, P, channels)
    return F.scaled_dot_product_attention(query, key, value, dropout_p=dropout).transpose(1, 2).flatten(2)


class _ByProducts(torch.autograd.Function):
    """The same attention on a CPU by matrix products: torch's own is slow there in bf16, and with dropout.

    In bf16 torch's own runs at a third of their speed. With dropout it holds all weights of a song, gigabytes for a
    long one, and spends most of its time drawing random numbers. Scores and weights are rounded to bf16, as in the
    published model's own attention. The backward pass computes the weights and their dropout mask again, for one song
    and head at a time, so that memory grows with P and not with P².
    """

    @staticmethod
    def forward(ctx: Any, joint: Tensor, lengths: list[int], dropout: float, seed: int) -> Tensor:
        """Query, key and value (P, 3, heads, channels) of packed songs → (P, heads · channels)."""
        ctx.save_for_backward(joint)
        ctx.lengths, ctx.dropout, ctx.seed = lengths, dropout, seed
        drop = _Dropout(dropout, seed)
        attended = joint.new_empty(len(joint), *joint.shape[2:])
        songs = zip(joint.split(lengths), attended.split(lengths), strict=True)
        for song, result in songs:
            for head in range(joint.shape[2]):
                query, key, value = _of_head(song, head)
                value *= drop.scale
                for rows in _blocks(len(song)):
                    result[rows, head] = drop.next(_weights(query[rows], key)) @ value
        return attended.flatten(1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, above: Tensor) -> tuple[Tensor, None, None, None]:
        """Gradients of the result (P, heads · channels) → gradients of `joint`."""
        (joint,) = ctx.saved_tensors
        drop = _Dropout(ctx.dropout, ctx.seed)
        gradient = torch.empty_like(joint)
        above = above.view(len(joint), *joint.shape[2:])
        parts = (tensor.split(ctx.lengths) for tensor in (joint, gradient, above))
        for song, result, upper in zip(*parts, strict=True):
            for head in range(joint.shape[2]):
                result[:, :, head] = _gradients(*_of_head(song, head), upper[:, head].contiguous(), drop)
        return gradient, None, None, None


class _Dropout:
    """Drops the same weights in both passes: the mask depends on the seed and on the number of earlier draws.

    Kept weights must be multiplied by `scale`; callers scale the values instead, which are fewer.

    Parameters
    ----------
    probability
        Probability of dropping a weight, to within 2⁻¹⁶.
    seed
        Seed of the draws.
    """

    def __init__(self, probability: float, seed: int) -> None:
        self.scale = 1 / (1 - probability)
        self._least = round(probability * _RANDOM_VALUES)
        self._generator = torch.Generator().manual_seed(seed)
        self._mask: Tensor | None = None

    def next(self, weights: Tensor) -> Tensor:
        """Draw a new mask, and set the dropped weights to 0."""
        if not self._least:
            return weights
        draws = torch.empty(weights.shape, dtype=torch.int16).random_(generator=self._generator)
        self._mask = draws >= self._least
        return self.again(weights)

    def again(self, weights: Tensor) -> Tensor:
        """Apply the last mask again, so that gradients pass where weights did."""
        return weights if self._mask is None else weights * self._mask


def _of_head(song: Tensor, head: int) -> tuple[Tensor, Tensor, Tensor]:
    """One head's query (scaled), key and value (P, channels) each, contiguous."""
    query, key, value = song[:, :, head].transpose(0, 1).contiguous()
    return query * query.shape[1] ** -0.5, key, value


def _weights(query: Tensor, key: Tensor) -> Tensor:
    return (query @ key.T).softmax(1)


def _gradients(query: Tensor, key: Tensor, value: Tensor, above: Tensor, drop: _Dropout) -> Tensor:
    """One song and head: query, key, value and the result's gradient, each (P, channels) → (P, 3, channels)."""
    gradient = query.new_zeros(3, *query.shape)
    value = value * drop.scale
    for rows in _blocks(len(query)):
        weights = _weights(query[rows], key)
        gradient[2].addmm_(drop.next(weights).T, above[rows])
        of_weights = drop.again(above[rows] @ value.T)
        of_scores = torch._softmax_backward_data(of_weights, weights, 1, weights.dtype)
        gradient[0, rows] = of_scores @ key
        gradient[1].addmm_(of_scores.T, query[rows])
    gradient[0] *= query.shape[1] ** -0.5
    gradient[2] *= drop.scale
    return gradient.transpose(0, 1)


def _blocks(count: int) -> list[slice]:
    return [slice(start, start + ROWS_AT_ONCE) for start in range(0, count, ROWS_AT_ONCE)]
