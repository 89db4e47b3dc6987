"""The interface of every head: packed frames of several songs in; one vector per song, then scores, out.

Songs of a batch are packed, not padded: their whole patches follow one another, and a head works within each song.
So padding cannot leak into scores, and costs nothing.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cached_property
from itertools import accumulate

import torch
from torch import Tensor, nn

from stages.head.errors import HeadError
from stages.head.model.sizes import ModelSizes


class Songs:
    """Where each song of a packed batch begins and ends: made once per batch, used by all layers.

    Its tensors are made on the device from one small copy, so that a GPU is not waited for.

    Parameters
    ----------
    lengths
        Patches per song, B of them, each at least 1; they sum to P.
    device
        The device of the patches.
    """

    def __init__(self, lengths: Sequence[int], device: torch.device) -> None:
        self.lengths, self.longest = list(lengths), max(lengths)
        self.padded = device.type == "cuda"
        bounds = torch.tensor([0, *accumulate(lengths)], dtype=torch.int32)
        self.bounds = bounds.to(device, non_blocking=True)  # (B + 1,): the first patch of each song, then P

    @property
    def counts(self) -> Tensor:
        """Patches per song (B, 1), int32, on the device."""
        return self.bounds.diff().unsqueeze(1)

    @cached_property
    def _places(self) -> Tensor:
        """The row of each patch (P,) among B · longest padded rows."""
        rows = torch.arange(sum(self.lengths), device=self.bounds.device)
        song = torch.bucketize(rows, self.bounds[1:], right=True)
        return rows + song * self.longest - self.bounds[song]

    def batches(self, patches: Tensor, fill: float = 0.0) -> Sequence[Tensor]:
        """Patches (…, P, C) as batches (…, songs, patches, C), for reductions within each song.

        A GPU gets one batch of all songs, padded with `fill`: in a loop over songs, it would wait for Python. A CPU
        gets one batch per song, without padding: a song fills the machine, and its values stay in the cache.
        """
        if not self.padded:
            return [song.unsqueeze(-3) for song in patches.split(self.lengths, dim=-2)]
        *outer, _, channels = patches.shape
        rows = patches.new_full((*outer, len(self.lengths) * self.longest, channels), fill)
        # A scatter, and a gather in the backward pass, both without sums: deterministic.
        padded = rows.index_copy(patches.ndim - 2, self._places, patches)
        return [padded.unflatten(-2, (len(self.lengths), self.longest))]

    def pack(self, batches: Sequence[Tensor]) -> Tensor:
        """The inverse of `batches`: (…, P, C), without the padding."""
        if not self.padded:
            return torch.cat([song.squeeze(-3) for song in batches], dim=-2)
        return batches[0].flatten(-3, -2).index_select(-2, self._places)


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
