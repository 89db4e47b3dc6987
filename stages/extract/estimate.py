"""What an extraction will cost, told beforehand: hours of audio, bytes, and time from a short calibration."""

import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from stages.extract.audio import SAMPLE_RATE, probe_seconds
from stages.extract.plan import SongTask
from stages.extract.quiet import silenced
from store.errors import HearError
from store.objects import open_objects

if TYPE_CHECKING:
    from stages.extract.encoders import MultiScale

CALIBRATION_SECONDS = 30.0
BYTES = {"float16": 2, "float32": 4, "int8": 1}


@dataclass(frozen=True)
class Estimate:
    """The cost of the records still to make.

    `free` is None where a target does not tell (an object store); `replaced` is what goes for them, in bytes.
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
        """Whether the target has the space, where it tells."""
        return self.free is None or self.bytes <= self.free + self.replaced


def estimate(
    tasks: Sequence[SongTask],
    *,
    streams: int,
    channels: int,
    dtype: str,
    pool: int,
    frame_rate: float,
    root: str,
    replaced: int = 0,
) -> Estimate:
    """Add up durations from the files' headers; files that cannot be read are counted, and cost nothing.

    `replaced` is the size in bytes of the stored records that the tasks replace.
    """
    seconds, unreadable = 0.0, 0
    with silenced():
        for task in tasks:
            try:
                seconds += probe_seconds(task.path) * len(task.views)
            except HearError:
                unreadable += 1
    frame_bytes = streams * channels * BYTES[dtype]
    return Estimate(
        songs=len(tasks),
        views=sum(len(task.views) for task in tasks),
        hours=seconds / 3600,
        bytes=round(seconds * frame_rate / pool * frame_bytes),
        free=free_bytes(root),
        unreadable=unreadable,
        replaced=replaced,
    )


def free_bytes(root: str) -> int | None:
    """Free space in bytes where the store at `root` is or would be; None for a remote one, which does not tell.

    Raises
    ------
    StoreError
        There is no such file system.
    """
    place = open_objects(root).root
    if "://" in place:
        return None
    folder = Path(place)
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def calibrate(encoders: "MultiScale") -> float:
    """Seconds of audio encoded a second, from one segment of seeded noise after a short warm-up."""
    noise = np.random.default_rng(0).standard_normal(round(CALIBRATION_SECONDS * SAMPLE_RATE)).astype(np.float32) * 0.1
    encoders.encode(noise[:SAMPLE_RATE])
    begun = time.perf_counter()
    encoders.encode(noise)
    return CALIBRATION_SECONDS / (time.perf_counter() - begun)
