"""From the store to the head: records as packed frames, held in memory if they fit, otherwise read ahead by threads."""

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stages.head.data.epoch_plan import Item
from stages.head.errors import HeadError
from store import EmbeddingStore
from store.format.quantisation import to_native

# Batches that each thread reads before they are needed.
AHEAD = 2


class Packed(NamedTuple):
    """Frames (P · stride, F) of several songs, and the patches of each, which sum to P."""

    frames: Tensor
    lengths: list[int]


def flatten_streams(record: NDArray[np.floating]) -> NDArray[np.floating]:
    """A record (S, T, C) as frames (T, S · C): the streams side by side, in native byte order."""
    return to_native(record.transpose(1, 0, 2)).reshape(record.shape[1], -1)


class Records:
    """Reads the records of a batch and packs their whole patches; safe to use from several threads.

    Parameters
    ----------
    root
        The store's path or URL.
    streams
        Names of the streams, in the head's order.
    stride
        Frames per patch.
    crop
        Most patches per song; longer songs are cropped at the item's place. None keeps all.
    keep
        Hold the records in memory once read.
    """

    def __init__(
        self, root: str | Path, *, streams: Sequence[str], stride: int, crop: int | None = None, keep: bool = False
    ) -> None:
        self.root, self.streams, self.stride, self.crop, self.keep = root, tuple(streams), stride, crop, keep
        self._held: dict[tuple[str, int], NDArray[np.floating]] = {}

    @cached_property
    def _store(self) -> EmbeddingStore:
        return EmbeddingStore.open(self.root)

    def __getitem__(self, items: Sequence[Item]) -> Packed:
        """Pack these records.

        Raises
        ------
        HeadError
            A record is too short for one patch.
        StoreError
            A record cannot be read.
        """
        songs = [self._cropped(self._read(item.song, item.view), item.place) for item in items]
        # NumPy copies in this thread alone; torch would start more threads for each reading thread.
        return Packed(torch.from_numpy(np.concatenate(songs)), [len(song) // self.stride for song in songs])

    def _read(self, song: str, view: int) -> NDArray[np.floating]:
        held = self._held.get((song, view))
        if held is not None:
            return held
        frames = flatten_streams(self._store.read(song, view, streams=self.streams))
        whole = len(frames) // self.stride * self.stride
        if not whole:
            raise HeadError(
                f"{self.root}: song {song!r} view {view} has {len(frames)} frames, a head needs at least {self.stride}"
            )
        if self.keep:
            self._held[song, view] = frames[:whole]
        return frames[:whole]

    def _cropped(self, frames: NDArray[np.floating], place: float) -> NDArray[np.floating]:
        patches = len(frames) // self.stride
        if self.crop is None or patches <= self.crop:
            return frames
        start = int(place * (patches - self.crop + 1)) * self.stride
        return frames[start : start + self.crop * self.stride]


class Reader:
    """Yields batches in order; with workers, they read ahead.

    Threads suffice: reading a file and copying arrays releases the interpreter lock, and nothing is copied between
    processes.

    Parameters
    ----------
    records
        Reads a batch.
    workers
        Threads; 0 reads each batch when it is needed.
    pin
        Place batches in page-locked memory, for a GPU.
    """

    def __init__(self, records: Records, *, workers: int, pin: bool = False) -> None:
        self._records, self._workers, self._pin = records, workers, pin

    def read(self, batches: Sequence[Sequence[Item]]) -> Iterator[Packed]:
        """Read these batches. Raises as `Records`."""
        if not self._workers:
            yield from map(self._batch, batches)
            return
        threads = ThreadPoolExecutor(self._workers, thread_name_prefix="read")
        pending: deque[Future[Packed]] = deque()
        waiting = iter(batches)
        try:
            while True:
                while len(pending) < AHEAD * self._workers and (batch := next(waiting, None)) is not None:
                    pending.append(threads.submit(self._batch, batch))
                if not pending:
                    return
                yield pending.popleft().result()
        finally:
            threads.shutdown(wait=False, cancel_futures=True)

    def _batch(self, items: Sequence[Item]) -> Packed:
        packed = self._records[items]
        return Packed(packed.frames.pin_memory(), packed.lengths) if self._pin else packed
