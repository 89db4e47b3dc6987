"""Self-attention inside each song, over windows that lie packed one song after the other."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

# Queries whose weights are made at once: bounds their memory, and most songs fit.
ROWS_AT_ONCE = 2048


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
        dropping = self.training and self.dropout > 0
        if joint.device.type == "cpu" and joint.dtype == torch.bfloat16 and not dropping:
            return self.outputs(_ByProducts.apply(joint, lengths))  # type: ignore[no-any-return, no-untyped-call]
        if len(set(lengths)) == 1 and not dropping:
            return self.outputs(_attend(joint.view(len(lengths), lengths[0], *joint.shape[1:])).flatten(0, 1))  # type: ignore[no-any-return]
        attend = self._attend_dropping if dropping else _attend
        songs = [attend(song.unsqueeze(0)).squeeze(0) for song in torch.split(joint, list(lengths))]
        return self.outputs(torch.cat(songs))  # type: ignore[no-any-return]

    def _attend_dropping(self, joint: Tensor) -> Tensor:
        # With dropout a CPU holds all weights of a song, gigabytes for a long one: made again in the backward pass,
        # they are held for one song at a time.
        return checkpoint(_attend, joint, self.dropout, use_reentrant=False)  # type: ignore[no-any-return]


def _attend(joint: Tensor, dropout: float = 0.0) -> Tensor:
    """Query, key and value (B, W, 3, heads, channels) → (B, W, heads · channels)."""
    query, key, value = joint.permute(2, 0, 3, 1, 4)  # each (B, heads, W, channels)
    return F.scaled_dot_product_attention(query, key, value, dropout_p=dropout).transpose(1, 2).flatten(2)


class _ByProducts(torch.autograd.Function):
    """The same attention for bf16 on a CPU, by matrix products: torch's own there runs at a third of their speed.

    Scores and weights are rounded to bf16, as in the published model's own attention. The weights are made again in the
    backward pass, for one song and head at a time, so that memory grows with W and not with W².
    """

    @staticmethod
    def forward(ctx: Any, joint: Tensor, lengths: Sequence[int]) -> Tensor:
        """Query, key and value (W, 3, heads, channels) of packed songs → (W, heads · channels)."""
        ctx.save_for_backward(joint)
        ctx.lengths = lengths
        attended = joint.new_empty(len(joint), *joint.shape[2:])
        songs = zip(joint.split(list(lengths)), attended.split(list(lengths)), strict=True)
        for song, result in songs:
            for head in range(joint.shape[2]):
                query, key, value = _of_head(song, head)
                for rows in _blocks(len(song)):
                    result[rows, head] = _weights(query[rows], key) @ value
        return attended.flatten(1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, above: Tensor) -> tuple[Tensor, None]:
        """Gradients of `forward`'s result (W, heads · channels) → of its `joint`."""
        (joint,) = ctx.saved_tensors
        gradient = torch.empty_like(joint)
        above = above.view(len(joint), *joint.shape[2:])
        parts = (tensor.split(list(ctx.lengths)) for tensor in (joint, gradient, above))
        for song, result, upper in zip(*parts, strict=True):
            for head in range(joint.shape[2]):
                result[:, :, head] = _gradients(*_of_head(song, head), upper[:, head].contiguous())
        return gradient, None


def _of_head(song: Tensor, head: int) -> tuple[Tensor, Tensor, Tensor]:
    """One head's query (scaled), key and value (W, channels) each, contiguous."""
    query, key, value = song[:, :, head].transpose(0, 1).contiguous()
    return query * query.shape[1] ** -0.5, key, value


def _weights(query: Tensor, key: Tensor) -> Tensor:
    return (query @ key.T).softmax(1)


def _gradients(query: Tensor, key: Tensor, value: Tensor, above: Tensor) -> Tensor:
    """Of one song and head: query, key, value and the gradient of the result (W, channels) each → (W, 3, channels)."""
    gradient = query.new_zeros(3, *query.shape)
    for rows in _blocks(len(query)):
        weights = _weights(query[rows], key)
        of_weights = above[rows] @ value.T
        of_scores = weights * (of_weights - (of_weights * weights).sum(1, keepdim=True))
        gradient[0, rows] = of_scores @ key
        gradient[1].addmm_(of_scores.T, query[rows])
        gradient[2].addmm_(weights.T, above[rows])
    gradient[0] *= query.shape[1] ** -0.5
    return gradient.transpose(0, 1)


def _blocks(count: int) -> list[slice]:
    return [slice(start, start + ROWS_AT_ONCE) for start in range(0, count, ROWS_AT_ONCE)]
