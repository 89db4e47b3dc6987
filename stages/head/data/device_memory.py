"""Where batches are packed: in main memory by the reader threads, or on a GPU.

On a GPU, records are uploaded as stored from page-locked memory, and packed there, on a stream of its own: the thread
that trains copies nothing, and the GPU computes meanwhile.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stages.common.messages import first_line
from stages.head.data.records import Stored, pack_record
from stages.head.errors import HeadError
from store.format.quantisation import Levels


class MainMemory:
    """Batches for the CPU. NumPy packs, as torch would start more threads in each reader thread."""

    def batch(self, frames: int, features: int, dtype: type[np.floating]) -> Any:
        """Memory for packed frames (T, F), which `pack` fills."""
        return np.empty((frames, features), dtype)

    def tensor(self, batch: Any) -> Tensor:
        """Packed frames as a tensor on the device, without a copy."""
        return torch.from_numpy(batch)

    def scratch(self, size: int) -> NDArray[np.uint8]:
        """Main memory for a record as stored, in bytes."""
        return np.empty(size, np.uint8)

    def hold(self, record: Stored) -> Stored:
        """A copy of a record, in the device's memory."""
        return record._replace(values=record.values.copy())

    def pack(self, record: Stored, cut: slice, out: Any) -> None:
        """Write a record's frames into packed ones, (T, F); afterwards, the record's memory may be reused."""
        pack_record(record, cut, out)

    def reuse(self) -> None:
        """Let batches be filled again: all work on their frames was started before this call."""


class CudaMemory(MainMemory):
    """Batches on a GPU.

    Each thread waits until its own record is packed, so a batch is complete when its threads have finished.
    """

    def __init__(self, device: torch.device) -> None:
        self._device, self._stream = device, torch.cuda.Stream(device)

    def batch(self, frames: int, features: int, dtype: type[np.floating]) -> Tensor:
        with self._allocating(), torch.cuda.stream(self._stream):
            return torch.empty((frames, features), dtype=getattr(torch, dtype.__name__), device=self._device)

    def tensor(self, batch: Any) -> Tensor:
        frames: Tensor = batch
        return frames

    def scratch(self, size: int) -> NDArray[np.uint8]:
        locked: NDArray[np.uint8] = torch.empty(size, dtype=torch.uint8, pin_memory=True).numpy()
        return locked

    def hold(self, record: Stored) -> Stored:
        with self._uploading():
            return self._upload(record)

    def pack(self, record: Stored, cut: slice, out: Tensor) -> None:
        with self._uploading():
            pack_record(self._upload(record), cut, out)

    def reuse(self) -> None:
        # Uploads into a batch's memory wait for the work that reads it.
        self._stream.wait_event(torch.cuda.current_stream(self._device).record_event())

    def _upload(self, record: Stored) -> Stored:
        """Copy a record to the GPU, on the current stream; records that are there already stay."""
        if isinstance(record.values, Tensor):
            return record
        values = torch.from_numpy(record.values).to(self._device, non_blocking=True)
        # Levels are small, and may be read-only, which torch.from_numpy refuses. `torch.tensor(…, device=…)` would wait
        # for the stream, and take a core.
        levels: Any = [torch.tensor(part).to(self._device, non_blocking=True) for part in record.levels or ()]
        return Stored(values, Levels(*levels) if levels else None)

    @contextmanager
    def _uploading(self) -> Iterator[None]:
        """Work on the stream, and wait for its end without taking a core."""
        with self._allocating(), torch.cuda.stream(self._stream):
            yield
            done = torch.cuda.Event(blocking=True)
            done.record()
        done.synchronize()

    @contextmanager
    def _allocating(self) -> Iterator[None]:
        try:
            yield
        except torch.OutOfMemoryError as error:
            raise HeadError(
                f"{self._device}: GPU memory ran out while records were loaded: {first_line(error)}; "
                "hold fewer with --memory, or use a smaller --batch-size"
            ) from error
