"""Changed songs, ready for the encoders: decode all channels, change them, then mix down and resample as any file."""

import os
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stages.common.processes import Processes
from stages.extract.audio.loudness import loudest_second
from stages.extract.audio.reading import read_channels, resample
from stages.extract.audio.source import FileStamp, SourceFile, file_stamp, read_source
from stages.extract.audio.waveform import Waveform
from stages.extract.views.prepare import TOO_MUCH, FailedView, PreparedView, SongRequest, view_seconds
from stages.robustness.changes import parse_record_id
from stages.robustness.errors import StressError
from store.errors import HearError

# Time limit of a changed song, relative to that of an augmented view: some changes encode and decode it.
SLOWER = 3.0


class _Decoded(NamedTuple):
    """A song's samples (channel, n) at `rate` Hz, its damage, and its file."""

    samples: NDArray[np.float32]
    rate: int
    damage: Mapping[str, Any]
    source: SourceFile


# The changes of a song follow each other, so that a process decodes it once.
@lru_cache(maxsize=1)
def _decode(path: Path, stamp: FileStamp) -> _Decoded:
    samples, rate, damage = read_channels(path)
    samples.flags.writeable = False
    return _Decoded(samples, rate, damage, read_source(path, since=stamp))


def prepare_changed(record: str, path: Path) -> PreparedView:
    """Make one changed song; `record` is its id, see `record_id`.

    Raises
    ------
    AudioError
        The file cannot be decoded.
    StressError
        The change cannot be applied to this song.
    """
    song_id, change, strength = parse_record_id(record)
    song = _decode(path, file_stamp(path))
    changed = change(song.samples, song.rate, strength, song_id=song_id)
    if not np.isfinite(changed).all():
        raise StressError("the changed song has samples that are not finite")
    samples = resample(Waveform(changed.mean(axis=0, dtype=np.float32), song.rate)).samples
    drawn = change.identity(strength)
    return PreparedView(0, samples, song.source, drawn, loudest_second(samples), song.damage)


class ChangeFeed:
    """Prepares changed songs ahead of the encoders, in other processes with time limits; results come in order.

    Parameters
    ----------
    processes
        Number of processes; as many songs wait for the encoders.
    """

    def __init__(self, *, processes: int) -> None:
        self._count = processes
        self._processes = Processes(processes)

    def close(self) -> None:
        """End the processes."""
        self._processes.close()

    def views(self, requests: Sequence[SongRequest]) -> Iterator[tuple[SongRequest, PreparedView | FailedView]]:
        """Yield the one view of each request, whose song id is that of a record."""
        pending: deque[tuple[SongRequest, Future[PreparedView | FailedView]]] = deque()
        threads = ThreadPoolExecutor(self._count, thread_name_prefix="change")
        try:
            for request in requests:
                pending.append((request, threads.submit(self._prepare, request)))
                if len(pending) > 2 * self._count:
                    first, future = pending.popleft()
                    yield first, future.result()
            while pending:
                first, future = pending.popleft()
                yield first, future.result()
        finally:
            # After Ctrl-C, songs that are being changed are not waited for.
            if pending:
                self.close()
            threads.shutdown(wait=False, cancel_futures=True)

    def _prepare(self, request: SongRequest) -> PreparedView | FailedView:
        path = Path(os.path.abspath(request.path))  # noqa: PTH100 - resolve() follows links
        try:
            return self._processes.call(SLOWER * view_seconds(path), prepare_changed, request.song_id, path)
        except (HearError, MemoryError) as error:
            return FailedView(0, str(error) or TOO_MUCH)
