"""The records of a store as a head takes them: whole patches of frames, the streams side by side, songs packed."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from stages.head.data.epoch_plan import Item
from stages.head.errors import HeadError
from store import EmbeddingStore
from store.errors import StoreError, StoreNotFoundError
from store.format.arrays import Allocate, new_bytes
from store.format.quantisation import Levels, to_floats, to_native, to_stored


class Packed(NamedTuple):
    """Frames (P · stride, F) of several songs, and the patches of each, which sum to P."""

    frames: Tensor
    lengths: list[int]


class Stored(NamedTuple):
    """A record in a storage type, in main memory or on a GPU: values (S, T, C), and the levels of int8 codes."""

    values: Any
    levels: Levels | None


def packed_type(stored: str, held: str) -> type[np.floating]:
    """The type of packed frames, from the storage types of records that are read and of those that are held."""
    return np.float16 if stored == held == "float16" else np.float32


def flatten_streams(record: NDArray[np.floating]) -> NDArray[np.floating]:
    """A record (S, T, C) as frames (T, S · C): the streams side by side, in native byte order."""
    return to_native(record.transpose(1, 0, 2)).reshape(record.shape[1], -1)


def pack_record(record: Stored, cut: slice, out: Any) -> None:
    """Write some frames of a record, the streams side by side, as floats.

    The same code packs with NumPy in main memory and with torch on a GPU.

    Parameters
    ----------
    record
        Arrays of NumPy, or tensors.
    cut
        The frames.
    out
        Contiguous (T, S · C) of the same kind, float16 or float32.
    """
    values = record.values[:, cut]
    frames = out.reshape(values.shape[1], values.shape[0], values.shape[2])
    frames[...] = values.swapaxes(0, 1)
    if record.levels is not None:
        with np.errstate(over="ignore", invalid="ignore"):  # untrusted levels
            frames *= record.levels.scale
            frames += record.levels.offset


class Records:
    """Reads records as stored; safe to use from several threads.

    Parameters
    ----------
    store
        Where to read.
    streams
        Names of the streams, in the head's order.
    stride
        Frames per patch.
    crop
        Most patches per song; longer songs are cropped at the item's place. None keeps all.
    """

    def __init__(self, store: EmbeddingStore, *, streams: Sequence[str], stride: int, crop: int | None = None) -> None:
        self.store, self.streams, self.stride, self.crop = store, tuple(streams), stride, crop

    @property
    def features(self) -> int:
        """F, values per frame."""
        return len(self.streams) * self.store.channels

    def cut(self, item: Item) -> slice:
        """The frames to use: whole patches, from the item's place if the song must be cropped.

        Raises
        ------
        HeadError
            The record is too short for one patch.
        StoreNotFoundError
            There is no such record.
        """
        frames = self._frames(item.song, item.view)
        patches = frames // self.stride
        if not patches:
            raise HeadError(
                f"{self.store.root}: song {item.song!r} view {item.view} has {frames} frames, "
                f"a head needs at least {self.stride}"
            )
        if self.crop is None or patches <= self.crop:
            return slice(0, patches * self.stride)
        start = int(item.place * (patches - self.crop + 1)) * self.stride
        return slice(start, start + self.crop * self.stride)

    def read(self, song: str, view: int, *, dtype: str | None = None, allocate: Allocate = new_bytes) -> Stored:
        """Read a record.

        Parameters
        ----------
        dtype
            Convert to this storage type, as the store does; None keeps the store's.
        allocate
            Returns the memory to read into.

        Raises
        ------
        HeadError
            The record was replaced by one of another length since the store was listed.
        StoreError
            It cannot be read, or not be converted.
        """
        found = Stored(*self.store.read_stored(song, view, self.streams, allocate=allocate))
        if found.values.shape[1] != self._frames(song, view):
            raise HeadError(
                f"{self.store.root}: song {song!r} view {view}: expected {self._frames(song, view)} frames, found "
                f"{found.values.shape[1]}: the record was replaced after the store was opened; run the command again"
            )
        if dtype is None or dtype == self.store.spec.dtype:
            return found
        try:
            return Stored(*to_stored(to_floats(*found), dtype))
        except StoreError as error:
            raise StoreError(f"{self.store.root}: song {song!r} view {view}: {error}") from error

    def _frames(self, song: str, view: int) -> int:
        row = self.store.rows.get((song, view))
        if row is None:
            raise StoreNotFoundError(f"{self.store.root}: no song {song!r} with view {view}; see hear-store info")
        return row.frames
