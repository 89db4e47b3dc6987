"""Three frames become one window: depthwise and pointwise convolution plus an average-pooling residual.

Kernel and stride are equal, so windows do not overlap and a convolution is a weighted sum inside each window.
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
        Width of a frame and of a window.
    stride
        Frames a window.
    dropout
        Probability, while training.
    """

    def __init__(self, *, inputs: int, outputs: int, stride: int, dropout: float) -> None:
        super().__init__()
        self.stride = stride
        bound = 1 / math.sqrt(stride)  # what a Conv1d with one input channel a group starts from
        self.depthwise = nn.Parameter(torch.empty(stride, inputs).uniform_(-bound, bound))
        self.pointwise = nn.Linear(inputs, outputs, bias=False)
        self.residual = nn.Linear(inputs, outputs, bias=False)
        self.norm = nn.LayerNorm(outputs)
        self.dropout = nn.Dropout(dropout)

    def forward(self, frames: Tensor) -> Tensor:
        """Frames (windows · stride, inputs), no window with frames of two songs → (windows, outputs)."""
        inside = frames.view(-1, self.stride, frames.shape[1]).unbind(1)  # stride × (windows, inputs)
        # Term by term: as one sum over a dimension of 3 it took two to three times as long, forwards and backwards.
        weights = self.depthwise.to(frames.dtype)
        weighted, total = inside[0] * weights[0], inside[0]
        for frame, weight in zip(inside[1:], weights[1:], strict=True):
            weighted, total = torch.addcmul(weighted, frame, weight), total + frame
        windows = self.pointwise(weighted) + self.residual(total / self.stride)
        return self.dropout(F.gelu(self.norm(windows)))  # type: ignore[no-any-return]
