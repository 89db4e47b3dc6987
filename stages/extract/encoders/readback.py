"""A song's result on its way from the device to the thread that stores it."""

import threading
import weakref
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

# Results that may wait in pinned memory until a thread fetches them.
WAITING = 4


class Result(NamedTuple):
    """(S, T, C) in the storage type, and minima and maxima of its parts before they were converted: (…, 2) float32."""

    frames: npt.NDArray[np.floating]
    limits: npt.NDArray[np.float32]


def readback(device: torch.device) -> "Callable[[Tensor, Tensor], Callable[[], Result]]":
    """Return the function that sends (frames, limits) to the host and returns the function that waits for them."""
    return CopyStream(device).send if device.type == "cuda" else _at_once


def _at_once(frames: Tensor, limits: Tensor) -> Callable[[], Result]:
    result = Result(frames.numpy(), limits.numpy())
    return lambda: result


class CopyStream:
    """Copies results from a GPU beside its computations, into pinned memory that torch uses again.

    At most `WAITING` results wait to be fetched; then `send` waits, so that a slow writer slows the encoders instead
    of filling the memory.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.stream = torch.cuda.Stream(device)
        self.places = threading.Semaphore(WAITING)

    def send(self, frames: Tensor, limits: Tensor) -> Callable[[], Result]:
        """Begin to copy; see `Waiting`."""
        self.places.acquire()
        try:
            self.stream.wait_stream(torch.cuda.current_stream(self.device))
            with torch.cuda.stream(self.stream):
                copies = [self._copy(values) for values in (frames, limits)]
                done = torch.cuda.Event(blocking=True)  # waiting for it takes no core
                done.record()
                return Waiting(copies, done, self.places)
        except BaseException:
            self.places.release()
            raise

    def _copy(self, values: Tensor) -> Tensor:
        values.record_stream(self.stream)  # the encoders must not use its memory again before the copy is done
        return torch.empty(values.shape, dtype=values.dtype, pin_memory=True).copy_(values, non_blocking=True)


class Waiting:
    """Waits for the copies and moves them to ordinary memory, which frees the pinned one. One thread at a time."""

    def __init__(self, copies: list[Tensor], done: torch.cuda.Event, places: threading.Semaphore) -> None:
        self._copies, self._done = copies, done
        self._result: Result | None = None
        self._leave = weakref.finalize(self, places.release)  # also if nobody ever calls

    def __call__(self) -> Result:
        """Return the same result every time."""
        if self._result is None:
            self._done.synchronize()
            self._result = Result(*(copy.numpy().copy() for copy in self._copies))
            self._copies.clear()
            self._leave()
        return self._result
