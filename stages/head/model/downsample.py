"""Three frames become one patch: depthwise and pointwise convolution, plus a residual that averages frames.

Kernel and stride are equal, so patches do not overlap, and the convolution is a weighted sum within each patch.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class TimeDownsample(nn.Module):
    """W[depthwise(x)] + R[mean(x)], then LayerNorm, GELU and dropout (paper §2.2; no biases).

    Parameters
    ----------
    inputs, outputs
        Channels per frame and per patch.
    stride
        Frames per patch.
    dropout
        Probability during training.
    """

    def __init__(self, *, inputs: int, outputs: int, stride: int, dropout: float) -> None:
        super().__init__()
        self.stride = stride
        bound = 1 / math.sqrt(stride)  # the initial range of a Conv1d with one input channel per group
        self.depthwise = nn.Parameter(torch.empty(stride, inputs).uniform_(-bound, bound))
        self.pointwise = nn.Linear(inputs, outputs, bias=False)
        self.residual = nn.Linear(inputs, outputs, bias=False)
        self.norm = nn.LayerNorm(outputs)
        self.dropout = nn.Dropout(dropout)

    def forward(self, frames: Tensor) -> Tensor:
        """Frames (patches · stride, inputs) → (patches, outputs); no patch may have frames of two songs."""
        inside = frames.view(-1, self.stride, frames.shape[1]).unbind(1)  # stride × (patches, inputs)
        # Term by term: one sum over a dimension of 3 takes two to three times as long, forwards and backwards.
        weights = self.depthwise.to(frames.dtype)
        weighted, total = inside[0] * weights[0], inside[0]
        for frame, weight in zip(inside[1:], weights[1:], strict=True):
            weighted, total = torch.addcmul(weighted, frame, weight), total + frame
        patches = self.pointwise(weighted) + self.residual(total / self.stride)
        return self.dropout(F.gelu(self.norm(patches)))  # type: ignore[no-any-return]
