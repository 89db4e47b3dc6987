"""Reader threads: the records of the next batches, packed into reused memory of the training device."""

import threading
from collections import deque
from collections.abc import Callable, Collection, Generator, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from stages.head.data.device_memory import CudaMemory, MainMemory
from stages.head.data.epoch_plan import Item
from stages.head.data.records import Packed, Records, Stored, packed_type

# Batches that are read while another one is used; more if they have so few records that threads would have none.
AHEAD = 1
# New memory for a batch is larger than the largest one so far, so that few batches need more.
SPARE = 1 / 8


@dataclass
class _Batch:
    """A batch that is being filled: its memory, the part that it uses, and functions that wait for its records."""

    memory: Any
    frames: Any
    lengths: list[int]
    waits: list[Callable[[], object]]


class Reader:
    """Yields batches in order, on the training device; with workers, they are read ahead.

    Threads suffice: reading a file, checksums and copying arrays release the interpreter lock. The threads share the
    records of a batch, and each reads into memory of its own, as stored. Packed batches use a ring of buffers, one more
    than there are batches read ahead.

    Parameters
    ----------
    records
        Reads a record.
    workers
        Threads; 0 reads each batch when it is needed.
    device
        Where the batches are needed.
    held, held_as
        Records (song, view) to keep on the device once they are read, and the storage type to keep them in; None for
        the store's.
    """

    def __init__(
        self,
        records: Records,
        *,
        workers: int,
        device: torch.device | None = None,
        held: Collection[tuple[str, int]] = (),
        held_as: str | None = None,
    ) -> None:
        self.records, self._workers = records, workers
        on_gpu = device is not None and device.type == "cuda"
        self._memory = CudaMemory(device) if on_gpu and device is not None else MainMemory()
        self._to_hold, self._held_as = frozenset(held), held_as or records.store.spec.dtype
        self._held: dict[tuple[str, int], Stored] = {}
        self._dtype = packed_type(records.store.spec.dtype, self._held_as)
        self._largest = 0

    def read(self, batches: Iterable[Sequence[Item]]) -> Generator[Packed, None, None]:
        """Read these batches, whose items are requested a few batches ahead.

        A batch may be used until the next one is requested: its memory is then filled again.

        Raises
        ------
        HeadError
            A record is too short for one patch, or was replaced meanwhile; or a GPU's memory ran out.
        StoreError
            A record cannot be read.
        """
        threads = ThreadPoolExecutor(self._workers, thread_name_prefix="read") if self._workers else None
        pending: deque[_Batch] = deque()
        free: list[Any] = []
        scratch = _Scratch(self._memory.scratch)
        coming = iter(batches)
        try:
            while True:
                while self._wants_more(pending) and (items := next(coming, None)) is not None:
                    pending.append(self._begin(items, free, scratch, threads))
                if not pending:
                    return
                batch = pending.popleft()
                for wait in batch.waits:
                    wait()
                yield Packed(self._memory.tensor(batch.frames), batch.lengths)
                self._memory.reuse()
                free.append(batch.memory)
        finally:
            if threads is not None:
                threads.shutdown(wait=False, cancel_futures=True)

    def _wants_more(self, pending: Collection[_Batch]) -> bool:
        if not self._workers:
            return not pending
        # The first one is about to be used.
        return len(pending) <= AHEAD or sum(len(batch.lengths) for batch in pending) < AHEAD * self._workers

    def _begin(
        self, items: Sequence[Item], free: list[Any], scratch: "_Scratch", threads: ThreadPoolExecutor | None
    ) -> _Batch:
        """Start to fill a batch: one task per record to read, and one for all that are held."""
        cuts = [self.records.cut(item) for item in items]
        sizes = [cut.stop - cut.start for cut in cuts]
        ends = np.cumsum(sizes).tolist()
        memory = self._take(free, ends[-1])
        held, tasks = [], []
        for item, cut, size, end in zip(items, cuts, sizes, ends, strict=True):
            part = (item, cut, memory[end - size : end])
            if (item.song, item.view) in self._held:
                held.append(part)
            else:
                tasks.append(partial(self._fill, scratch, [part]))
        if held:
            tasks.append(partial(self._fill, scratch, held))
        waits: list[Callable[[], object]] = (
            [*tasks] if threads is None else [threads.submit(task).result for task in tasks]
        )
        return _Batch(memory, memory[: ends[-1]], [size // self.records.stride for size in sizes], waits)

    def _take(self, free: list[Any], frames: int) -> Any:
        """Memory for a batch, from the ring if its buffer is large enough."""
        self._largest = max(self._largest, frames)
        memory = free.pop() if free else None
        if memory is None or len(memory) < frames:
            del memory  # before there is another
            return self._memory.batch(int(self._largest * (1 + SPARE)), self.records.features, self._dtype)
        return memory

    def _fill(self, scratch: "_Scratch", parts: Sequence[tuple[Item, slice, Any]]) -> None:
        for item, cut, out in parts:
            self._memory.pack(self._load(item.song, item.view, scratch), cut, out)

    def _load(self, song: str, view: int, scratch: "_Scratch") -> Stored:
        """A record, from memory if it is held, otherwise in this thread's scratch memory."""
        held = self._held.get((song, view))
        if held is not None:
            return held
        if (song, view) not in self._to_hold:
            return self.records.read(song, view, allocate=scratch.allocate)
        # Two threads may load one record at the same time: they find the same values.
        found = self.records.read(song, view, dtype=self._held_as, allocate=scratch.allocate)
        held = self._held[song, view] = self._memory.hold(found)
        return held


class _Scratch(threading.local):
    """Each thread's memory for one record, which grows to its largest."""

    def __init__(self, allocate: Callable[[int], NDArray[np.uint8]]) -> None:
        self._new = allocate
        self._buffer = np.empty(0, np.uint8)

    def allocate(self, size: int) -> NDArray[np.uint8]:
        if len(self._buffer) < size:
            self._buffer = np.empty(0, np.uint8)
            self._buffer = self._new(size + int(size * SPARE))
        return self._buffer
