"""From the store to the head: records as packed frames, held in memory where they fit, else read ahead by workers."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from stages.head.errors import HeadError
from stages.head.plan import Item
from stages.shared_memory import LEAST_SHARED, shared_free
from store import EmbeddingStore
from store.errors import HearError
from store.quantise import to_native


class Packed(NamedTuple):
    """Frames (W · stride, F) of several songs, and how many windows each has; they sum to W."""

    frames: Tensor
    lengths: list[int]


def flatten_streams(record: NDArray[np.floating]) -> NDArray[np.floating]:
    """A record (S, T, C) as frames (T, S · C): the streams side by side, in order, in the machine's byte order."""
    return to_native(record.transpose(1, 0, 2)).reshape(record.shape[1], -1)


class Records(Dataset[Packed]):
    """Reads the records of a batch and packs their whole windows. Pickles as its settings, to open the store elsewhere.

    Parameters
    ----------
    root
        The store's path or URL.
    streams
        Names of the streams, in the head's order.
    stride
        Frames a window.
    crop
        Windows a song at most; the rest is cut off, at the item's place. None keeps all.
    keep
        Hold what was read in memory.
    """

    def __init__(
        self, root: str | Path, *, streams: Sequence[str], stride: int, crop: int | None = None, keep: bool = False
    ) -> None:
        self.root, self.streams, self.stride, self.crop, self.keep = root, tuple(streams), stride, crop, keep
        self._store: EmbeddingStore | None = None
        self._held: dict[tuple[str, int], Tensor] = {}

    def __getitem__(self, items: Sequence[Item]) -> Packed:
        """Pack these records.

        Raises
        ------
        HeadError
            A record is too short for one window.
        StoreError
            A record cannot be read.
        """
        songs = [self._cropped(self._read(item.song, item.view), item.place) for item in items]
        return Packed(torch.cat(songs), [len(song) // self.stride for song in songs])

    def _read(self, song: str, view: int) -> Tensor:
        held = self._held.get((song, view))
        if held is not None:
            return held
        if self._store is None:
            self._store = EmbeddingStore.open(self.root)
        frames = torch.from_numpy(flatten_streams(self._store.read(song, view, streams=self.streams)))
        whole = len(frames) // self.stride * self.stride
        if not whole:
            raise HeadError(
                f"{self.root}: song {song!r} view {view} has {len(frames)} frames, a head needs at least {self.stride}"
            )
        if self.keep:
            self._held[song, view] = frames[:whole]
        return frames[:whole]

    def _cropped(self, frames: Tensor, place: float) -> Tensor:
        windows = len(frames) // self.stride
        if self.crop is None or windows <= self.crop:
            return frames
        start = int(place * (windows - self.crop + 1)) * self.stride
        return frames[start : start + self.crop * self.stride]

    def __getstate__(self) -> dict[str, object]:
        """Leave the open store and what is held behind."""
        return {**self.__dict__, "_store": None, "_held": {}}


class _Sent(Dataset["_Sendable"]):
    """What a worker sends: a batch in shared memory, a copy where that is full (64 MB in a container), or an error.

    Left to itself, a worker that finds no room would hang its reader, and raise errors with a traceback as their text.
    """

    def __init__(self, records: Dataset[Packed]) -> None:
        self.records = records

    def __getitem__(self, items: Sequence[Item]) -> "_Sendable":
        try:
            frames, lengths = self.records[items]
        except HearError as error:
            return error
        # An attempt that fails would leave a file in /dev/shm; others need room there, too.
        if frames.nbytes < shared_free() // 2:
            with suppress(RuntimeError):
                return Packed(frames.share_memory_(), lengths)
        return frames.numpy(), lengths


_NO_WORKERS = (
    "the processes that read records cannot be begun; make room in /dev/shm, or read in this process with --workers 0"
)
_Sendable = Packed | tuple[NDArray[np.floating], list[int]] | HearError
_T = TypeVar("_T")


def _as_it_is(value: _T) -> _T:
    return value


def _received(sent: _Sendable) -> Packed:
    if isinstance(sent, HearError):
        raise sent
    return sent if isinstance(sent, Packed) else Packed(torch.from_numpy(sent[0]), sent[1])


class _Queue(Sampler[Sequence[Item]]):
    """The batches that the next pass of a loader reads."""

    def __init__(self) -> None:
        self.batches: Sequence[Sequence[Item]] = ()

    def __iter__(self) -> Iterator[Sequence[Item]]:
        return iter(self.batches)

    def __len__(self) -> int:
        return len(self.batches)


class Reader:
    """Yields batches in order; with workers, they read ahead and stay alive between epochs.

    Parameters
    ----------
    records
        What reads a batch.
    workers
        Spawned processes; 0 reads in this one.
    pin
        Place batches in page-locked memory, for a GPU.
    """

    def __init__(self, records: Records, *, workers: int, pin: bool = False) -> None:
        self._queue = _Queue()
        self._loader: DataLoader[_Sendable] = DataLoader(
            _Sent(records) if workers else records,
            sampler=self._queue,
            batch_size=None,
            collate_fn=_as_it_is,
            num_workers=workers,
            multiprocessing_context="spawn" if workers else None,
            prefetch_factor=2 if workers else None,
            persistent_workers=workers > 0,
            pin_memory=pin,
        )

    def read(self, batches: Sequence[Sequence[Item]]) -> Iterator[Packed]:
        """Read these batches, one pass at a time.

        Raises
        ------
        HeadError
            A record is too short, or the workers cannot be begun or have died.
        StoreError
            A record cannot be read.
        """
        self._queue.batches = batches
        if self._loader.num_workers and shared_free() < LEAST_SHARED:
            raise HeadError(f"/dev/shm is full: {_NO_WORKERS}")
        try:
            yield from map(_received, self._loader)
        except OSError as error:
            raise HeadError(f"{error.strerror or error}: {_NO_WORKERS}") from error
        except RuntimeError as error:
            if not str(error).startswith("DataLoader worker"):
                raise
            why = str(error).splitlines()[0]
            raise HeadError(f"{why}; memory may have run out: use fewer --workers, or 0") from error
