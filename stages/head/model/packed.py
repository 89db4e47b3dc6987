"""The interface of every head: packed frames of several songs in; one vector per song, then scores, out.

Songs of a batch are packed, not padded: their whole patches follow one another, and a head works within each song.
So padding cannot leak into scores, and costs nothing.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from stages.head.errors import HeadError
from stages.head.model.sizes import ModelSizes


class PackedModel(nn.Module, ABC):
    """A head.

    Axes: B songs, T frames, P patches of all songs together, F features per frame, V values per song, D dimensions.

    Parameters
    ----------
    sizes
        Determine the shapes of its tensors.
    """

    output: nn.Linear

    def __init__(self, sizes: ModelSizes) -> None:
        super().__init__()
        self.sizes = sizes

    @abstractmethod
    def pool(self, frames: Tensor, lengths: Sequence[int]) -> Tensor:
        """Each song as one vector (B, V), float32, which C-Mixup mixes.

        Parameters
        ----------
        frames
            (P · stride, F) of any floating type: the songs' whole patches, one song after the other.
        lengths
            Patches per song, B of them; they sum to P.
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
    """Padded songs → packed whole patches: (B, T, F), (B, T) bool → (P · stride, F) and patches per song.

    Frames after a song's last whole patch are dropped, as by the published model for a song alone.

    Raises
    ------
    HeadError
        A song has fewer valid frames than a patch, or a valid frame after a padded one.
    """
    if bool((valid[:, 1:] & ~valid[:, :-1]).any()):
        raise HeadError("head: valid frames must come first, found a valid frame after a padded one")
    counts = [int(count) // stride for count in valid.sum(1)]
    for position, count in enumerate(counts):
        if count < 1:
            raise HeadError(
                f"head: song {position} of the batch has fewer than {stride} frames, the fewest that a head can score"
            )
    return torch.cat([song[: count * stride] for song, count in zip(frames, counts, strict=True)]), counts


def compute_type(device: torch.device, weight: Tensor) -> torch.dtype:
    """The type of frames before the first product: autocast's if it is enabled, otherwise the weights'."""
    if torch.is_autocast_enabled(device.type):
        return torch.get_autocast_dtype(device.type)
    return weight.dtype
