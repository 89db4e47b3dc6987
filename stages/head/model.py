"""HEAR's head (arXiv 2511.18869 §2.2): frames of one song in, one score a dimension out.

Songs of a batch are packed, not padded: their whole windows lie one after the other, attention and pooling work
inside each song. So nothing can leak from padding, and no work is spent on it.

    frames (T, F) → linear, norm → windows of 3 (T//3, width) → feed-forward → attention × layers
                  → attentive pooling (4 · width) → linear → tanh · 2 + 3
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from stages.head.attention import SelfAttention
from stages.head.downsample import TimeDownsample
from stages.head.errors import HeadError
from stages.head.pooling import AttentivePooling
from stages.head.sizes import HeadSizes

# Windows that pass the wide first layers at once: bounds the memory that an hour-long song takes.
CHUNK_WINDOWS = 8192


class HearHead(nn.Module):
    """Score songs from their frames.

    Parameters
    ----------
    sizes
        See `HeadSizes`.

    Notes
    -----
    Axes: B songs, T frames, W windows of all songs together, F features a frame, D dimensions.
    """

    def __init__(self, sizes: HeadSizes) -> None:
        super().__init__()
        self.sizes = sizes
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

    def forward(self, frames: Tensor, valid: Tensor) -> Tensor:
        """Scores (B, D) of padded songs: frames (B, T, F), valid (B, T) bool, True where a frame is real.

        Raises
        ------
        HeadError
            See `pack`.
        """
        return self.rate(self.pool(*pack(frames, valid, stride=self.sizes.stride)))

    def pool(self, frames: Tensor, lengths: Sequence[int]) -> Tensor:
        """Each song as one vector (B, queries · 2 · width), float32: what C-Mixup mixes.

        Parameters
        ----------
        frames
            (W · stride, F) of any floating type: the songs' whole windows, one song after the other.
        lengths
            Windows a song, B of them; they sum to W.
        """
        windows = torch.cat([self._windows(chunk) for chunk in torch.split(frames, CHUNK_WINDOWS * self.sizes.stride)])
        for layer in self.attention:
            windows = windows + layer(self.attention_norm(windows), lengths)
        return self.pooling(windows, lengths)  # type: ignore[no-any-return]

    def rate(self, pooled: Tensor) -> Tensor:
        """Pooled vectors (B, queries · 2 · width) → scores (B, D), float32, each between 1 and 5."""
        return torch.tanh(self.output(pooled).float()) * 2 + 3

    def _windows(self, frames: Tensor) -> Tensor:
        projected = self.project_norm(self.project(frames.to(_compute_type(frames.device, self.project.weight))))
        return self.feed_forward(self.downsample(projected))  # type: ignore[no-any-return]


def pack(frames: Tensor, valid: Tensor, *, stride: int) -> tuple[Tensor, list[int]]:
    """Padded songs → packed whole windows: (B, T, F), (B, T) bool → (W · stride, F) and windows a song.

    Frames after a song's last whole window are dropped, as the published model drops them for a song alone.

    Raises
    ------
    HeadError
        A song has fewer valid frames than a window, or a valid frame after one that is not.
    """
    if bool((valid[:, 1:] & ~valid[:, :-1]).any()):
        raise HeadError("head: valid frames must come first, found one after a padded frame")
    counts = [int(count) // stride for count in valid.sum(1)]
    check_lengths(counts, stride=stride)
    return torch.cat([song[: count * stride] for song, count in zip(frames, counts, strict=True)]), counts


def check_lengths(windows: Sequence[int], *, stride: int) -> None:
    """Refuse songs without a single whole window.

    Raises
    ------
    HeadError
        A song is that short; the message says which of the batch.
    """
    for position, count in enumerate(windows):
        if count < 1:
            raise HeadError(f"head: song {position} of the batch has fewer than {stride} frames, the least it scores")


def _compute_type(device: torch.device, weight: Tensor) -> torch.dtype:
    if torch.is_autocast_enabled(device.type):
        return torch.get_autocast_dtype(device.type)
    return weight.dtype
