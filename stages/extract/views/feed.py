"""Decoding and augmentation of views ahead of the encoders, in other processes, in order and with bounded memory."""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from stages.common.processes import LostProcessError, Processes
from stages.extract.audio.reading import SAMPLE_RATE, AudioError, TooLongError, read_audio, resample
from stages.extract.audio.source import SourceFile, file_stamp, read_source
from stages.extract.views.augment import draw_view
from stages.songs.errors import shown
from store.errors import HearError

# One megabyte holds at most two minutes of audio (64 kbit/s), which an idle core decodes and augments in 1 s.
LEAST_SECONDS, SECONDS_PER_MEGABYTE = 120.0, 10.0
TOO_MUCH = "decoding and augmenting it exceeds its share of memory; try fewer --readers"


@dataclass(frozen=True)
class ViewRequest:
    """One view to prepare: song, file, view, and seed of the augmentation.

    `replaces` is the digest of the stored record to be replaced, if there is one. A song longer than `longest` seconds
    fails.
    """

    song_id: str
    path: Path
    view: int
    seed: int
    longest: float | None = None
    replaces: str | None = None


@dataclass(frozen=True)
class PreparedView:
    """A view ready for the encoders.

    `samples` is float32 (n,) at 24 kHz in [-1, 1], `source` the file, `drawn` the augmentation's parameters, `damage`
    that of `Waveform`.
    """

    samples: NDArray[np.float32]
    source: SourceFile
    drawn: dict[str, Any]
    damage: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class FailedView:
    """A view that could not be prepared, and a one-line reason; `too_long` if that is the reason."""

    error: str
    too_long: bool = False


def prepare_view(request: ViewRequest) -> PreparedView | FailedView:
    """Decode, augment at the file's own rate (up to 96,000 Hz), resample to 24 kHz.

    The clean view is resampled while it is decoded. A decoder may raise any exception on a bad file; it becomes this
    view's failure, so that one bad file does not stop the others.
    """
    stamp = None
    with suppress(AudioError):  # `read_audio` raises a better error
        stamp = file_stamp(request.path)
    try:
        rate = None if request.view else SAMPLE_RATE
        waveform = read_audio(request.path, rate=rate, longest=request.longest)
        augmented, drawn = draw_view(waveform, song_id=request.song_id, view=request.view, seed=request.seed)
        samples = resample(augmented).samples
        if not np.isfinite(samples).all():
            raise AudioError(f"{shown(request.path)}: view {request.view} has samples that are not finite")
        return PreparedView(samples, read_source(request.path, since=stamp), drawn, waveform.damage)
    except HearError as error:
        return FailedView(str(error), too_long=isinstance(error, TooLongError))
    except MemoryError:
        return FailedView(f"{shown(request.path)}: {TOO_MUCH}")
    except Exception as error:
        return FailedView(f"{shown(request.path)}: {type(error).__name__}: {' '.join(str(error).split())}")


def view_seconds(path: Path) -> float:
    """Time limit for preparing one view of a file, in seconds."""
    try:
        size = path.stat().st_size
    except (OSError, ValueError, AttributeError):
        size = 0  # `prepare_view` reports the error
    return LEAST_SECONDS + SECONDS_PER_MEGABYTE * size / 1e6


def prepare_in(
    processes: Processes, request: ViewRequest, *, seconds: float | None = None
) -> PreparedView | FailedView:
    """Run `prepare_view` in a process that is killed after `seconds`, by default `view_seconds`."""
    try:
        return processes.call(seconds or view_seconds(request.path), prepare_view, request)
    except LostProcessError as error:
        return FailedView(f"{shown(request.path)}: the process that decoded it {error}")
    except MemoryError:
        return FailedView(f"{shown(request.path)}: {TOO_MUCH}")


class ViewFeed:
    """Prepares views ahead of their use.

    Parameters
    ----------
    processes
        Number of processes; with 0, views are prepared in this process on demand. A process prepares one view at a
        time, because augmentation seeds the global generators (see `stages.extract.views.augment`).
    ahead
        Maximum number of views in preparation or waiting, which bounds the memory.
    """

    def __init__(self, *, processes: int, ahead: int | None = None) -> None:
        self.processes = processes
        self.ahead = ahead if ahead is not None else processes + 1
        self._running: tuple[Processes, ThreadPoolExecutor] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    def close(self) -> None:
        """End the processes and drop unfinished views. A later use starts new processes."""
        if self._running is not None:
            processes, threads = self._running
            self._running = None
            threads.shutdown(wait=False, cancel_futures=True)
            processes.close()
            threads.shutdown(wait=True)

    def _submit(self, request: ViewRequest) -> "Future[PreparedView | FailedView]":
        if self._running is None:
            # One thread waits for each process.
            self._running = Processes(self.processes), ThreadPoolExecutor(self.processes, thread_name_prefix="prepare")
        processes, threads = self._running
        return threads.submit(prepare_in, processes, request)

    def views(self, requests: Iterable[ViewRequest]) -> Iterator[tuple[ViewRequest, PreparedView | FailedView]]:
        """Yield every request with its result, in the given order."""
        if self.processes == 0:
            yield from ((request, prepare_view(request)) for request in requests)
            return
        pending: deque[tuple[ViewRequest, Future[PreparedView | FailedView]]] = deque()
        source = iter(requests)
        while True:
            while len(pending) < self.ahead and (following := next(source, None)) is not None:
                pending.append((following, self._submit(following)))
            if not pending:
                return
            request, future = pending.popleft()
            yield request, future.result()
