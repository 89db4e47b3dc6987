"""HEAR's head (arXiv 2511.18869 §2.2): frames of one song in, one score per dimension out.

frames (T, F) → linear, norm → patches of 3 (T//3, width) → feed-forward → attention × layers
              → attention pooling (4 · width) → linear → tanh · 2 + 3
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from stages.head.model.attention import SelfAttention
from stages.head.model.downsample import TimeDownsample
from stages.head.model.packed import PackedModel, Songs, compute_type
from stages.head.model.pooling import AttentivePooling
from stages.head.model.sizes import HeadSizes

# Patches that pass the wide first layers at once: bounds the memory of an hour-long song.
CHUNK_PATCHES = 8192


class HearHead(PackedModel):
    """Score songs from their frames.

    Parameters
    ----------
    sizes
        See `HeadSizes`.
    """

    def __init__(self, sizes: HeadSizes) -> None:
        super().__init__(sizes)
        self.project = nn.Linear(sizes.features, sizes.projected)
        self.project_norm = nn.LayerNorm(sizes.projected)
        self.downsample = TimeDownsample(
            inputs=sizes.projected, outputs=sizes.width, stride=sizes.stride, dropout=sizes.dropout
        )
        self.feed_forward = nn.Sequential(
            nn.Linear(sizes.width, sizes.hidden), nn.ReLU(), nn.Linear(sizes.hidden, sizes.width)
        )
        self.attention_norm = nn.LayerNorm(sizes.width)  # shared by all layers, as published
        self.attention = nn.ModuleList(SelfAttention(width=sizes.width, heads=sizes.heads) for _ in range(sizes.layers))
        self.pooling = AttentivePooling(
            width=sizes.width, queries=sizes.queries, heads=sizes.heads, bottleneck=sizes.bottleneck
        )
        self.output = nn.Linear(sizes.queries * 2 * sizes.width, sizes.classes)

    def pool(self, frames: Tensor, lengths: Sequence[int]) -> Tensor:
        """Each song as one vector (B, queries · 2 · width), float32; see `PackedModel.pool`."""
        patches = torch.cat([self._patches(chunk) for chunk in torch.split(frames, CHUNK_PATCHES * self.sizes.stride)])
        songs = Songs(lengths, patches.device)
        for layer in self.attention:
            patches = patches + layer(self.attention_norm(patches), songs)
        return self.pooling(patches, songs)  # type: ignore[no-any-return]

    def _patches(self, frames: Tensor) -> Tensor:
        projected = self.project_norm(self.project(frames.to(compute_type(frames.device, self.project.weight))))
        return self.feed_forward(self.downsample(projected))  # type: ignore[no-any-return]
