"""Attention pooling: multi-query multi-head attentive statistics (MQMHASTP, arXiv 2110.05042), one vector per song."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

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

    def forward(self, patches: Tensor, lengths: Sequence[int]) -> Tensor:
        """Pool each song's patches.

        Parameters
        ----------
        patches
            (P, width): the patches of all songs, one after the other.
        lengths
            Patches per song, B of them; they sum to P.

        Returns
        -------
        Tensor
            (B, queries · heads · 2 · slice), float32: for each query and head, the mean, then the std.
        """
        slices = patches.view(len(patches), self.heads, -1).transpose(0, 1)  # (heads, P, slice)
        logits = self._scorers(slices)  # (queries, heads, P, slice)
        songs = zip(
            torch.split(slices.float(), list(lengths), 1), torch.split(logits.float(), list(lengths), 2), strict=True
        )
        return torch.stack([_statistics(song, scores).flatten() for song, scores in songs])

    def _scorers(self, slices: Tensor) -> Tensor:
        squeezed = torch.einsum("hwc,qhbc->qhwb", slices, self.squeeze_weight) + self.squeeze_bias.unsqueeze(2)
        return torch.einsum("qhwb,qhcb->qhwc", squeezed.tanh(), self.expand_weight) + self.expand_bias.unsqueeze(2)


def _statistics(song: Tensor, logits: Tensor) -> Tensor:
    """Song (heads, P, slice), logits (queries, heads, P, slice) → (queries, heads, 2, slice)."""
    weights = logits.softmax(dim=2)
    mean = (weights * song).sum(2)
    variance = (weights * song.square()).sum(2) - mean.square()
    return torch.stack([mean, variance.clamp(min=VARIANCE_FLOOR).sqrt()], dim=2)


def _uniform(*shape: int, fan_in: int) -> nn.Parameter:
    bound = 1 / math.sqrt(fan_in)  # the default of a 1×1 convolution
    return nn.Parameter(torch.empty(*shape).uniform_(-bound, bound))
