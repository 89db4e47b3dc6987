"""Attention pooling: multi-query multi-head attentive statistics (MQMHASTP, arXiv 2110.05042), one vector per song."""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from stages.head.model.packed import Songs

VARIANCE_FLOOR = 1e-7


class AttentivePooling(nn.Module):
    """Weighted mean and standard deviation over time, with weights from a small scorer per query and head.

    Each head sees its own slice of channels. For query q and head h: a = softmax over time, per channel, of
    V·tanh(W·x + b) + c; then mean = Σ a·x and std = √max(Σ a·x² − mean², 1e-7).

    Parameters
    ----------
    width
        Channels per patch; a multiple of `heads`.
    queries, heads, bottleneck
        Scorers per head, slices of channels, and the width inside a scorer.
    """

    def __init__(self, *, width: int, queries: int, heads: int, bottleneck: int) -> None:
        super().__init__()
        self.queries, self.heads = queries, heads
        slice_ = width // heads
        self.squeeze_weight = _uniform(queries, heads, bottleneck, slice_, fan_in=slice_)
        self.squeeze_bias = _uniform(queries, heads, bottleneck, fan_in=slice_)
        self.expand_weight = _uniform(queries, heads, slice_, bottleneck, fan_in=bottleneck)
        self.expand_bias = _uniform(queries, heads, slice_, fan_in=bottleneck)

    def forward(self, patches: Tensor, songs: Songs) -> Tensor:
        """Pool each song's patches.

        Parameters
        ----------
        patches
            (P, width): the patches of all songs, one after the other.
        songs
            Where each of the B songs begins and ends.

        Returns
        -------
        Tensor
            (B, queries · heads · 2 · slice), float32: for each query and head, the mean, then the std.
        """
        slices = patches.view(len(patches), self.heads, -1).transpose(0, 1)  # (heads, P, slice)
        logits = self._scorers(slices)  # (queries, heads, P, slice)
        statistics: Tensor = _Statistics.apply(slices, logits, songs)  # type: ignore[no-untyped-call]
        return statistics.permute(2, 0, 1, 3, 4).flatten(1)

    def _scorers(self, slices: Tensor) -> Tensor:
        squeezed = torch.einsum("hwc,qhbc->qhwb", slices, self.squeeze_weight) + self.squeeze_bias.unsqueeze(2)
        return torch.einsum("qhwb,qhcb->qhwc", squeezed.tanh(), self.expand_weight) + self.expand_bias.unsqueeze(2)


class _Statistics(torch.autograd.Function):
    """Mean and std over time, weighted by the softmax over time of the logits, in float32 or wider.

    Its own backward pass keeps the weights only; autograd keeps four tensors of their size.
    """

    @staticmethod
    def forward(ctx: Any, slices: Tensor, logits: Tensor, songs: Songs) -> Tensor:
        """Slices (heads, P, slice), logits (queries, heads, P, slice) → (queries, heads, B, 2, slice)."""
        wide = torch.promote_types(slices.dtype, torch.float32)
        means, squares = [], []
        # Padding weighs nothing: its logit is −∞.
        kept = [scores.softmax(-2, dtype=wide) for scores in songs.batches(logits, fill=-math.inf)]
        for values, weights in zip(songs.batches(slices), kept, strict=True):
            weighted = weights * values
            means.append(weighted.sum(-2))
            squares.append(weighted.mul_(values).sum(-2))
        mean, square = torch.cat(means, -2), torch.cat(squares, -2)
        variance = (square - mean.square()).clamp(min=VARIANCE_FLOOR)
        ctx.save_for_backward(slices, mean, square, variance, *kept)
        ctx.songs, ctx.type = songs, logits.dtype
        return torch.stack([mean, variance.sqrt()], dim=-2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, above: Tensor) -> tuple[Tensor, Tensor, None]:
        """Gradients of the statistics → gradients of slices and logits.

        With m and s the gradients of Σ a·x and Σ a·x², and f = m·x + s·x²: that of a logit is a·(f − Σ a·f), that of a
        value is the sum of a·(m + 2·s·x) over queries.
        """
        slices, mean, square, variance, *kept = ctx.saved_tensors
        songs: Songs = ctx.songs
        of_mean, of_std = above.unbind(-2)
        of_square = torch.where(variance > VARIANCE_FLOOR, of_std / (2 * variance.sqrt()), 0)
        of_mean = of_mean - 2 * mean * of_square
        average = of_mean * mean + of_square * square
        of_slices, of_logits, first = [], [], 0
        for values, weights in zip(songs.batches(slices), kept, strict=True):
            count = values.shape[-3]
            m, s, f = (part.narrow(-2, first, count).unsqueeze(-2) for part in (of_mean, of_square, average))
            scaled = s * values
            of_logits.append(torch.addcmul(-f, scaled + m, values.to(weights.dtype)).mul_(weights))
            of_slices.append(scaled.mul_(2).add_(m).mul_(weights).sum(0))
            first += count
        return songs.pack(of_slices).to(slices.dtype), songs.pack(of_logits).to(ctx.type), None


def _uniform(*shape: int, fan_in: int) -> nn.Parameter:
    bound = 1 / math.sqrt(fan_in)  # the default of a 1×1 convolution
    return nn.Parameter(torch.empty(*shape).uniform_(-bound, bound))
