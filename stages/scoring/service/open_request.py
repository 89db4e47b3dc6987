"""A request in progress, and which one gives way when too many uploads arrive."""

import asyncio
import math
import time
from collections.abc import Collection
from concurrent.futures import Future
from dataclasses import dataclass, field

from stages.scoring.rows import SongScore
from stages.scoring.service.limits import RefusedError
from stages.scoring.service.request_log import RequestRecord
from stages.scoring.service.uploads import Upload

# Requests whose uploads may arrive at the same time. Each keeps a file open; they take disk space, not memory.
MOST_UPLOADS = 128
# Seconds for which an upload is too young to be called slow.
YOUNG = 1.0


@dataclass(eq=False)
class OpenRequest:
    """A request in progress.

    Attributes
    ----------
    uploads
        The files that have begun to arrive.
    slowest
        Whether it was the slowest upload when another one needed its place.
    timeout
        Of its upload, or of its song.
    song
        Its place in the queue, once the upload is complete: the song that waits or is scored. In a batch, a scored song
        keeps the place until the next one takes it.
    """

    record: RequestRecord
    batch: bool = False
    uploads: list[Upload] = field(default_factory=list)
    slowest: bool = False
    timeout: asyncio.Timeout | None = None
    song: Future[SongScore] | None = None

    @property
    def arrives(self) -> bool:
        """Whether its upload is not complete yet."""
        return self.song is None and not self.slowest

    @property
    def rate(self) -> float:
        """Bytes per second of its upload so far; infinite for a young one."""
        seconds = time.monotonic() - self.record.begun
        return sum(upload.size for upload in self.uploads) / seconds if seconds > YOUNG else math.inf

    def give_up(self) -> None:
        """End its upload, to make room."""
        self.slowest = True
        if self.timeout is not None and not self.timeout.expired():
            self.timeout.reschedule(asyncio.get_running_loop().time())


def make_room(requests: Collection[OpenRequest]) -> None:
    """If the most uploads arrive, end the slowest, so that a few clients cannot hold all places with slow ones.

    Raises
    ------
    RefusedError
        503: all are too young to be called slow.
    """
    arriving = [one for one in requests if one.arrives]
    if len(arriving) < MOST_UPLOADS:
        return
    slowest = min(arriving, key=lambda one: one.rate)
    if slowest.rate == math.inf:
        raise RefusedError(503, f"too many uploads at once (at most {MOST_UPLOADS}); try again later")
    slowest.give_up()
