"""Self-attention inside each song, over windows that lie packed one song after the other."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

# Queries whose weights are made at once: bounds their memory, and most songs fit.
ROWS_AT_ONCE = 2048
# What `random_` draws for int16: 0 to 2¹⁵ − 1. Four times as fast as bernoulli_.
_RANDOM_VALUES = 2**15


class SelfAttention(nn.Module):
    """Multi-head self-attention; songs never see each other, and no padding exists to be masked.

    Parameters
    ----------
    width, heads
        Channels of a window, and heads that share them.
    dropout
        Probability of dropping a weight, while training.
    """

    def __init__(self, *, width: int, heads: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.inputs = nn.Linear(width, 3 * width)
        self.outputs = nn.Linear(width, width)
        nn.init.xavier_uniform_(self.inputs.weight)
        nn.init.zeros_(self.inputs.bias)
        nn.init.zeros_(self.outputs.bias)

    def forward(self, windows: Tensor, lengths: Sequence[int]) -> Tensor:
        """Windows (W, width), of which `lengths` tells how many each song has → (W, width)."""
        joint = self.inputs(windows).view(len(windows), 3, self.heads, -1)  # (W, 3, heads, channels)
        dropout = self.dropout if self.training else 0.0
        if joint.device.type == "cpu" and (dropout or joint.dtype == torch.bfloat16):
            seed = int(torch.randint(2**62, ()))
            return self.outputs(_ByProducts.apply(joint, lengths, dropout, seed))  # type: ignore[no-any-return, no-untyped-call]
        if len(set(lengths)) == 1:
            together = joint.view(len(lengths), lengths[0], *joint.shape[1:])
            return self.outputs(_attend(together, dropout).flatten(0, 1))  # type: ignore[no-any-return]
        songs = [_attend(song.unsqueeze(0), dropout).squeeze(0) for song in torch.split(joint, list(lengths))]
        return self.outputs(torch.cat(songs))  # type: ignore[no-any-return]


def _attend(joint: Tensor, dropout: float) -> Tensor:
    """Query, key and value (B, W, 3, heads, channels) → (B, W, heads · channels)."""
    query, key, value = joint.permute(2, 0, 3, 1, 4)  # each (B, heads, W, channels)
    return F.scaled_dot_product_attention(query, key, value, dropout_p=dropout).transpose(1, 2).flatten(2)


class _ByProducts(torch.autograd.Function):
    """The same attention on a CPU by matrix products: torch's own is slow there in bf16, and with dropout.

    In bf16 it runs at a third of their speed. With dropout it holds all weights of a song, gigabytes for a long one,
    and most of its time goes into drawing. Scores and weights are rounded to bf16, as in the published model's own
    attention. Weights, and which are dropped, are made again in the backward pass, for one song and head at a time, so
    that memory grows with W and not with W².
    """

    @staticmethod
    def forward(ctx: Any, joint: Tensor, lengths: Sequence[int], dropout: float, seed: int) -> Tensor:
        """Query, key and value (W, 3, heads, channels) of packed songs → (W, heads · channels)."""
        ctx.save_for_backward(joint)
        ctx.lengths, ctx.dropout, ctx.seed = lengths, dropout, seed
        drop = _Dropout(dropout, seed)
        attended = joint.new_empty(len(joint), *joint.shape[2:])
        songs = zip(joint.split(list(lengths)), attended.split(list(lengths)), strict=True)
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
        """Gradients of `forward`'s result (W, heads · channels) → of its `joint`."""
        (joint,) = ctx.saved_tensors
        drop = _Dropout(ctx.dropout, ctx.seed)
        gradient = torch.empty_like(joint)
        above = above.view(len(joint), *joint.shape[2:])
        parts = (tensor.split(list(ctx.lengths)) for tensor in (joint, gradient, above))
        for song, result, upper in zip(*parts, strict=True):
            for head in range(joint.shape[2]):
                result[:, :, head] = _gradients(*_of_head(song, head), upper[:, head].contiguous(), drop)
        return gradient, None, None, None


class _Dropout:
    """Drops weights, the same ones in both passes: what is drawn depends on the seed and on how much was drawn before.

    What is kept counts `scale` times as much; values are scaled, which are fewer than weights.

    Parameters
    ----------
    probability
        Of dropping a weight, to within 2⁻¹⁶.
    seed
        Of the draws.
    """

    def __init__(self, probability: float, seed: int) -> None:
        self.scale = 1 / (1 - probability)
        self._least = round(probability * _RANDOM_VALUES)
        self._generator = torch.Generator().manual_seed(seed)
        self._mask: Tensor | None = None

    def next(self, weights: Tensor) -> Tensor:
        """The next weights, some of them now 0."""
        if not self._least:
            return weights
        draws = torch.empty(weights.shape, dtype=torch.int16).random_(generator=self._generator)
        self._mask = draws >= self._least
        return self.again(weights)

    def again(self, weights: Tensor) -> Tensor:
        """Drop those that were dropped last; so gradients pass where weights did."""
        return weights if self._mask is None else weights * self._mask


def _of_head(song: Tensor, head: int) -> tuple[Tensor, Tensor, Tensor]:
    """One head's query (scaled), key and value (W, channels) each, contiguous."""
    query, key, value = song[:, :, head].transpose(0, 1).contiguous()
    return query * query.shape[1] ** -0.5, key, value


def _weights(query: Tensor, key: Tensor) -> Tensor:
    return (query @ key.T).softmax(1)


def _gradients(query: Tensor, key: Tensor, value: Tensor, above: Tensor, drop: _Dropout) -> Tensor:
    """Of one song and head: query, key, value and the gradient of the result (W, channels) each → (W, 3, channels)."""
    gradient = query.new_zeros(3, *query.shape)
    value = value * drop.scale
    for rows in _blocks(len(query)):
        weights = _weights(query[rows], key)
        gradient[2].addmm_(drop.next(weights).T, above[rows])
        of_weights = drop.again(above[rows] @ value.T)
        of_scores = weights * (of_weights - (of_weights * weights).sum(1, keepdim=True))
        gradient[0, rows] = of_scores @ key
        gradient[1].addmm_(of_scores.T, query[rows])
    gradient[0] *= query.shape[1] ** -0.5
    gradient[2] *= drop.scale
    return gradient.transpose(0, 1)


def _blocks(count: int) -> list[slice]:
    return [slice(start, start + ROWS_AT_ONCE) for start in range(0, count, ROWS_AT_ONCE)]
