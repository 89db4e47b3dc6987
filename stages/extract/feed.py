"""Views, decoded and augmented ahead of the encoders in spawned processes, in order and in bounded memory."""

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from stages.extract.audio import AudioError, read_audio, resample
from stages.extract.augment import draw_view
from stages.extract.quiet import silence_stderr
from stages.extract.source import SourceFile, file_stamp, read_source
from stages.songs.errors import shown
from store.errors import HearError


@dataclass(frozen=True)
class ViewRequest:
    """One view to prepare: which song, which file, which view, and the seed of the augmentation.

    `replaces` is the digest of the stored record that this view's record will replace; None where there is none.
    """

    song_id: str
    path: Path
    view: int
    seed: int
    replaces: str | None = None


@dataclass(frozen=True)
class PreparedView:
    """A view ready for the encoders.

    `samples` is float32 (n,) at 24 kHz in [-1, 1]; `source` is the file; `drawn` what augmentation drew.
    """

    samples: NDArray[np.float32]
    source: SourceFile
    drawn: dict[str, Any]


@dataclass(frozen=True)
class FailedView:
    """A view that could not be prepared, and why, in one line."""

    error: str


def prepare_view(request: ViewRequest) -> PreparedView | FailedView:
    """Decode, augment at the file's own rate, resample to 24 kHz.

    A decoder may raise anything on a bad file, and one bad file must not stop the others: whatever is raised becomes
    this view's failure.
    """
    stamp = None
    with suppress(AudioError):  # what reads the file says better what is wrong with it
        stamp = file_stamp(request.path)
    try:
        waveform, drawn = draw_view(
            read_audio(request.path), song_id=request.song_id, view=request.view, seed=request.seed
        )
        samples = resample(waveform).samples
        if not np.isfinite(samples).all():
            raise AudioError(f"{shown(request.path)}: view {request.view} has samples that are not finite")
        return PreparedView(samples, read_source(request.path, since=stamp), drawn)
    except HearError as error:
        return FailedView(str(error))
    except Exception as error:
        return FailedView(f"{shown(request.path)}: {type(error).__name__}: {' '.join(str(error).split())}")


class ViewFeed:
    """Prepares views ahead of their use.

    Parameters
    ----------
    processes
        Spawned processes that prepare; 0 prepares in this process, when asked. A process prepares one view at a time,
        so that augmentation may seed the global generators (see `stages.extract.augment`).
    ahead
        Views in preparation or waiting at any time; bounds the memory, whatever the number of songs.
    """

    def __init__(self, *, processes: int, ahead: int | None = None) -> None:
        self.processes = processes
        self.ahead = ahead if ahead is not None else processes + 1
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    def close(self) -> None:
        """End the processes; what they had begun is dropped."""
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
            self._pool = None

    def views(self, requests: Iterable[ViewRequest]) -> Iterator[tuple[ViewRequest, PreparedView | FailedView]]:
        """Yield every request with its outcome, in the order given."""
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
            try:
                outcome = future.result()
            except BrokenProcessPool:
                outcome = self._after_a_lost_process(request)
                pending = deque((waiting, self._submit(waiting)) for waiting, _ in pending)
            yield request, outcome

    def _submit(self, request: ViewRequest) -> Future[PreparedView | FailedView]:
        if self._pool is None:
            self._pool = self._new_pool(self.processes)
        try:
            return self._pool.submit(prepare_view, request)
        except BrokenProcessPool:
            broken: Future[PreparedView | FailedView] = Future()
            broken.set_exception(BrokenProcessPool("lost before it began"))
            return broken

    def _after_a_lost_process(self, request: ViewRequest) -> PreparedView | FailedView:
        """Prepare `request` alone, to tell the view that kills its process from those that were beside it."""
        self.close()
        with self._new_pool(1) as alone:
            try:
                return alone.submit(prepare_view, request).result()
            except BrokenProcessPool:
                return FailedView(
                    f"{shown(request.path)}: the process that decoded it died (memory, or a broken decoder)"
                )

    @staticmethod
    def _new_pool(processes: int) -> ProcessPoolExecutor:
        # Spawned: a forked child would inherit locks of torch's and zarr's threads, and hang on them.
        context = multiprocessing.get_context("spawn")
        return ProcessPoolExecutor(processes, mp_context=context, initializer=_begin_process)


def _begin_process() -> None:
    """Ignore Ctrl-C, which reaches the whole process group: the main process decides what to finish. End with it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    silence_stderr()
    threading.Thread(target=_end_with_the_parent, daemon=True).start()


def _end_with_the_parent() -> None:
    """A killed parent closes no queue, and its readers would wait for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
