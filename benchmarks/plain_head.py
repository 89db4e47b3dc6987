"""The plain way: HEAR's head as described in the paper, on padded songs, with the published tensor names.

Anchors and partners take two passes. It uses `nn.MultiheadAttention`, which also returns its weights, convolutions over
time, and a loop over the scorers of queries and heads. Dropout follows only the down-sampling, as in ours.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from stages.head.model.pooling import VARIANCE_FLOOR
from stages.head.model.sizes import HeadSizes


class PlainHead(nn.Module):
    """Axes: B songs, T frames (padded), W patches (padded), F features, C channels of a patch, V numbers per song."""

    def __init__(self, sizes: HeadSizes) -> None:
        super().__init__()
        self.mixed_win_downsample = nn.Linear(sizes.features, sizes.projected)
        self.input_norm = nn.LayerNorm(sizes.projected)
        self.down_sample_conv = _DownSample(sizes)
        self.model = _Model(sizes)

    def pool(self, frames: Tensor, valid: Tensor) -> Tensor:
        """Padded frames (B, T, F), T a multiple of the stride, and (B, T) bool, True where real → (B, V)."""
        patches = self.down_sample_conv(self.input_norm(self.mixed_win_downsample(frames)))
        pooled: Tensor = self.model.pool(patches, valid[:, :: self.down_sample_conv.stride])
        return pooled

    def rate(self, pooled: Tensor) -> Tensor:
        """Vectors (B, V) → scores (B, D), 1 to 5."""
        return torch.tanh(self.model.fc(pooled)) * 2 + 3


class _DownSample(nn.Module):
    def __init__(self, sizes: HeadSizes) -> None:
        super().__init__()
        self.stride = sizes.stride
        inputs, outputs = sizes.projected, sizes.width
        self.depthwise_conv = nn.Conv1d(inputs, inputs, self.stride, stride=self.stride, groups=inputs, bias=False)
        self.pointwise_conv = nn.Conv1d(inputs, outputs, 1, bias=False)
        self.residual_conv = nn.Conv1d(inputs, outputs, 1, bias=False)
        self.norm1 = nn.LayerNorm(outputs)
        self.dropout = nn.Dropout(sizes.dropout)

    def forward(self, frames: Tensor) -> Tensor:
        """(B, T, projected) → (B, W, C)."""
        over_time = frames.transpose(1, 2)
        residual = self.residual_conv(F.avg_pool1d(over_time, self.stride, self.stride))
        patches = self.pointwise_conv(self.depthwise_conv(over_time)) + residual
        dropped: Tensor = self.dropout(F.gelu(self.norm1(patches.transpose(1, 2))))
        return dropped


class _Model(nn.Module):
    def __init__(self, sizes: HeadSizes) -> None:
        super().__init__()
        # The third module does nothing; it keeps the published numbering.
        self.ffd = nn.Sequential(
            nn.Linear(sizes.width, sizes.hidden), nn.ReLU(), nn.Identity(), nn.Linear(sizes.hidden, sizes.width)
        )
        self.ln_ffd = nn.LayerNorm(sizes.width)
        self.attn = nn.ModuleList(
            nn.MultiheadAttention(sizes.width, sizes.heads, batch_first=True) for _ in range(sizes.layers)
        )
        self.mqmhastp = _Pooling(sizes)
        self.fc = nn.Linear(sizes.queries * 2 * sizes.width, sizes.classes)

    def pool(self, patches: Tensor, valid: Tensor) -> Tensor:
        """(B, W, C) and (B, W) bool → (B, V)."""
        patches = self.ffd(patches)
        for layer in self.attn:
            normed = self.ln_ffd(patches)
            attended, _ = layer(normed, normed, normed, key_padding_mask=~valid, need_weights=True)
            patches = patches + attended
        pooled: Tensor = self.mqmhastp(patches.transpose(1, 2), valid)
        return pooled


class _Pooling(nn.Module):
    def __init__(self, sizes: HeadSizes) -> None:
        super().__init__()
        self.n_query = nn.ModuleList(_Query(sizes) for _ in range(sizes.queries))

    def forward(self, patches: Tensor, valid: Tensor) -> Tensor:
        """(B, C, W) → (B, V)."""
        return torch.cat([query(patches, valid) for query in self.n_query], dim=1)


class _Query(nn.Module):
    def __init__(self, sizes: HeadSizes) -> None:
        super().__init__()
        slice_ = sizes.width // sizes.heads
        self.heads_att_trans = nn.ModuleList(
            nn.ModuleDict(
                {"att_0": nn.Conv1d(slice_, sizes.bottleneck, 1), "att_1": nn.Conv1d(sizes.bottleneck, slice_, 1)}
            )
            for _ in range(sizes.heads)
        )

    def forward(self, patches: Tensor, valid: Tensor) -> Tensor:
        """(B, C, W) → (B, 2 · C): mean and standard deviation of each head's slice of channels."""
        statistics = []
        slices: Sequence[Tensor] = patches.chunk(len(self.heads_att_trans), dim=1)
        for values, scorer in zip(slices, self.heads_att_trans, strict=True):
            logits = scorer["att_1"](torch.tanh(scorer["att_0"](values)))
            weights = logits.masked_fill(~valid[:, None], float("-inf")).softmax(dim=2)
            mean = (weights * values).sum(2)
            variance = (weights * values.square()).sum(2) - mean.square()
            statistics += [mean, variance.clamp(min=VARIANCE_FLOOR).sqrt()]
        return torch.cat(statistics, dim=1)
