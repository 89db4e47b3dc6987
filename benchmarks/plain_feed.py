"""The feed before songs became requests: each view decodes and hashes its file again, and views come back in order.

Its augmentation is the previous one, too: audiomentations applies each transform at the file's own rate.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.common.processes import Processes
from stages.extract.audio.loudness import loudest_second
from stages.extract.audio.reading import SAMPLE_RATE, Waveform, read_audio, resample
from stages.extract.audio.source import file_stamp, read_source
from stages.extract.views import augment
from stages.extract.views.prepare import PreparedView, SongRequest

# Far above any view's time.
SECONDS = 600.0


class PlainFeed:
    """Prepares single views in processes, in a window of one more than there are processes."""

    def __init__(self, processes: int) -> None:
        self._count = processes
        self._processes, self._threads = Processes(processes), ThreadPoolExecutor(processes)

    def close(self) -> None:
        """End the processes."""
        self._processes.close()
        self._threads.shutdown()

    def views(self, requests: Sequence[SongRequest]) -> Iterator[tuple[SongRequest, PreparedView]]:
        """Yield each view of each request, in order."""
        pending: deque[tuple[SongRequest, Future[PreparedView]]] = deque()
        for request in requests:
            for view in request.views:
                job = self._threads.submit(
                    self._processes.call, SECONDS, plain_view, request.path, request.song_id, view
                )
                pending.append((request, job))
                if len(pending) > self._count:
                    first, done = pending.popleft()
                    yield first, done.result()
        yield from ((request, done.result()) for request, done in pending)


def plain_view(path: Path, song_id: str, view: int) -> PreparedView:
    """Decode, augment at the file's own rate, resample to 24 kHz, and hash the file."""
    stamp = file_stamp(path)
    waveform = read_audio(path, rate=None if view else SAMPLE_RATE)
    samples = resample(augment_plainly(waveform, song_id, view)).samples
    return PreparedView(view, samples, read_source(path, since=stamp), {}, loudest_second(samples))


def augment_plainly(waveform: Waveform, song_id: str, view: int) -> Waveform:
    """The transforms of HEAR's table one by one, as audiomentations applies them, with the same draws (seed 0)."""
    if view == 0:
        return waveform
    samples = waveform.samples
    with augment._seeded(song_id, view, 0):
        for transform in _transforms():
            samples = transform(samples, sample_rate=waveform.rate)
    return replace(waveform, samples=np.ascontiguousarray(samples, np.float32))


@cache
def _transforms() -> list[Any]:
    import audiomentations

    # Where HEAR never took the library's defaults.
    changed = {"time_stretch": {"leave_length_unchanged": False}}
    rows = [(kind, {**arguments, **changed.get(name, {})}, p) for name, kind, arguments, p in augment.TABLE]
    return [getattr(audiomentations, kind)(**arguments, p=p) for kind, arguments, p in rows]


def hand_over_arrays(items: Iterable[int], size: int) -> Iterator[NDArray[np.float32]]:
    """The same array of noise for each item; it times the hand-over."""
    samples = np.random.default_rng(0).standard_normal(size, np.float32)
    for _ in items:
        yield samples
