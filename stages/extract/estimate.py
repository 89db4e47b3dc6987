"""Estimate of an extraction's cost: hours of audio, bytes, and time from a short calibration."""

import shutil
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from stages.common.processes import Processes
from stages.extract.audio.reading import SAMPLE_RATE, probe_seconds
from stages.extract.plan import SongTask
from stages.extract.views.prepare import view_seconds
from store.backends.opening import open_objects
from store.errors import HearError
from store.progress import Progress
from store.spec import Spec

if TYPE_CHECKING:
    from stages.extract.encoders import MultiScale

CALIBRATION_SECONDS = 30.0
BYTES = {"float16": 2, "float32": 4, "int8": 1}


@dataclass(frozen=True)
class Estimate:
    """The cost of the records to be made.

    `free` is None if the target's free space is unknown (an object store); `replaced` is the size in bytes of the
    records that they replace.
    """

    songs: int
    views: int
    hours: float
    bytes: int
    free: int | None
    unreadable: int
    replaced: int = 0

    @property
    def fits(self) -> bool:
        """Whether the target has enough space, as far as known."""
        return self.free is None or self.bytes <= self.free + self.replaced


def estimate(
    tasks: Sequence[SongTask],
    *,
    spec: Spec,
    root: str,
    replaced: int = 0,
    processes: int = 1,
    progress: Progress = iter,
) -> Estimate:
    """Add up the durations of the files. Unreadable files are counted, but add no duration.

    Parameters
    ----------
    replaced
        Size in bytes of the stored records that the tasks replace.
    processes
        Number of files that are examined at a time, each in a process.
    progress
        Wraps an iterable, for example in a progress bar.
    """
    seconds, unreadable = 0.0, 0
    for task, found in zip(tasks, durations([task.path for task in tasks], processes, progress), strict=True):
        seconds += (found or 0.0) * len(task.views)
        unreadable += found is None
    frame_bytes = len(spec.streams) * spec.channels * BYTES[spec.dtype]
    return Estimate(
        songs=len(tasks),
        views=sum(len(task.views) for task in tasks),
        hours=seconds / 3600,
        bytes=round(seconds * spec.frame_rate / spec.pool * frame_bytes),
        free=free_bytes(root),
        unreadable=unreadable,
        replaced=replaced,
    )


def durations(paths: Sequence[Path], processes: int, progress: Progress) -> list[float | None]:
    """Duration of each file in seconds; None for an unreadable file."""
    if not paths:
        return []
    count = max(1, min(processes, len(paths)))
    with Processes(count) as workers, ThreadPoolExecutor(count) as threads:

        def duration(path: Path) -> float | None:
            try:
                return workers.call(view_seconds(path), probe_seconds, path)
            except (HearError, MemoryError):
                return None

        # One thread waits for each process.
        pending = [threads.submit(duration, path) for path in paths]
        try:
            return [future.result() for future in progress(pending)]
        finally:
            threads.shutdown(wait=False, cancel_futures=True)
            workers.close()


def free_bytes(root: str) -> int | None:
    """Free space in bytes for the store at `root`; None for a remote store, whose space is unknown.

    Raises
    ------
    StoreError
        The file system is unknown.
    """
    place = open_objects(root).root
    if "://" in place:
        return None
    folder = Path(place)
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def calibrate(encoders: "MultiScale") -> float:
    """Seconds of audio encoded per second, from one segment of seeded noise after a short warm-up."""
    noise = np.random.default_rng(0).standard_normal(round(CALIBRATION_SECONDS * SAMPLE_RATE)).astype(np.float32) * 0.1
    encoders.encode(noise[:SAMPLE_RATE])
    start = time.perf_counter()
    encoders.encode(noise)
    return CALIBRATION_SECONDS / (time.perf_counter() - start)
