"""MQMHASTP, multi-query multi-head attentive statistics pooling (arXiv 2110.05042): a song becomes one vector."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

VARIANCE_FLOOR = 1e-7


class AttentivePooling(nn.Module):
    """Weighted mean and standard deviation over time, the weights from a small scorer per query and head.

    Each head sees its own slice of channels. For query q and head h: a = softmax over time, per channel, of
    V·tanh(W·x + b) + c; then mean = Σ a·x and std = √max(Σ a·x² − mean², 1e-7).

    Parameters
    ----------
    width
        Channels of a window; a multiple of `heads`.
    queries, heads, bottleneck
        Scorers a head, slices of channels, and the width inside a scorer.
    """

    def __init__(self, *, width: int, queries: int, heads: int, bottleneck: int) -> None:
        super().__init__()
        self.queries, self.heads = queries, heads
        slice_ = width // heads
        self.squeeze_weight = _uniform(queries, heads, bottleneck, slice_, fan_in=slice_)
        self.squeeze_bias = _uniform(queries, heads, bottleneck, fan_in=slice_)
        self.expand_weight = _uniform(queries, heads, slice_, bottleneck, fan_in=bottleneck)
        self.expand_bias = _uniform(queries, heads, slice_, fan_in=bottleneck)

    def forward(self, windows: Tensor, lengths: Sequence[int]) -> Tensor:
        """Pool each song's windows.

        Parameters
        ----------
        windows
            (W, width): the windows of all songs, one after the other.
        lengths
            Windows a song, B of them; they sum to W.

        Returns
        -------
        Tensor
            (B, queries · heads · 2 · slice), float32: for each query and head, the mean, then the std.
        """
        slices = windows.view(len(windows), self.heads, -1).transpose(0, 1)  # (heads, W, slice)
        logits = self._scorers(slices)  # (queries, heads, W, slice)
        songs = zip(
            torch.split(slices.float(), list(lengths), 1), torch.split(logits.float(), list(lengths), 2), strict=True
        )
        return torch.stack([_statistics(song, scores).flatten() for song, scores in songs])

    def _scorers(self, slices: Tensor) -> Tensor:
        squeezed = torch.einsum("hwc,qhbc->qhwb", slices, self.squeeze_weight) + self.squeeze_bias.unsqueeze(2)
        return torch.einsum("qhwb,qhcb->qhwc", squeezed.tanh(), self.expand_weight) + self.expand_bias.unsqueeze(2)


def _statistics(song: Tensor, logits: Tensor) -> Tensor:
    """Song (heads, W, slice), logits (queries, heads, W, slice) → (queries, heads, 2, slice)."""
    weights = logits.softmax(dim=2)
    mean = (weights * song).sum(2)
    variance = (weights * song.square()).sum(2) - mean.square()
    return torch.stack([mean, variance.clamp(min=VARIANCE_FLOOR).sqrt()], dim=2)


def _uniform(*shape: int, fan_in: int) -> nn.Parameter:
    bound = 1 / math.sqrt(fan_in)  # a 1×1 convolution's own default
    return nn.Parameter(torch.empty(*shape).uniform_(-bound, bound))
