"""What every head is to the rest of stage two: packed frames of several songs in, a vector and then scores a song out.

Songs of a batch are packed, not padded: their whole windows lie one after the other, and a head works inside each song.
So nothing can leak from padding, and no work is spent on it.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from stages.head.errors import HeadError
from stages.head.model.sizes import ModelSizes


class PackedModel(nn.Module, ABC):
    """A head.

    Axes: B songs, T frames, W windows of all songs together, F features a frame, V numbers a song, D dimensions.

    Parameters
    ----------
    sizes
        What its tensors' shapes depend on.
    """

    output: nn.Linear

    def __init__(self, sizes: ModelSizes) -> None:
        super().__init__()
        self.sizes = sizes

    @abstractmethod
    def pool(self, frames: Tensor, lengths: Sequence[int]) -> Tensor:
        """Each song as one vector (B, V), float32: what C-Mixup mixes.

        Parameters
        ----------
        frames
            (W · stride, F) of any floating type: the songs' whole windows, one song after the other.
        lengths
            Windows a song, B of them; they sum to W.
        """

    def rate(self, pooled: Tensor) -> Tensor:
        """Pooled vectors (B, V) → scores (B, D), float32, each between 1 and 5."""
        return torch.tanh(self.output(pooled).float()) * 2 + 3

    def forward(self, frames: Tensor, valid: Tensor) -> Tensor:
        """Scores (B, D) of padded songs: frames (B, T, F), valid (B, T) bool, True where a frame is real.

        Raises
        ------
        HeadError
            See `pack`.
        """
        return self.rate(self.pool(*pack(frames, valid, stride=self.sizes.stride)))


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
    for position, count in enumerate(counts):
        if count < 1:
            raise HeadError(f"head: song {position} of the batch has fewer than {stride} frames, the least it scores")
    return torch.cat([song[: count * stride] for song, count in zip(frames, counts, strict=True)]), counts


def compute_type(device: torch.device, weight: Tensor) -> torch.dtype:
    """What frames are converted to before the first product: autocast's type where it is on, else the weights'."""
    if torch.is_autocast_enabled(device.type):
        return torch.get_autocast_dtype(device.type)
    return weight.dtype
