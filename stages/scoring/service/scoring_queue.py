"""Where uploads lie and wait for the one thread that scores, and what is refused because it costs too much."""

import asyncio
import errno
import math
import os
import shutil
import tempfile
import weakref
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path, PureWindowsPath
from typing import Any

from stages.scoring.deadline import Deadline
from stages.scoring.errors import ScoringError, SongTooLongError
from stages.scoring.rows import SongScore
from store.errors import HearError

# Uploads that may arrive at a time. They take disk and no memory; each has a file open.
MOST_UPLOADS = 128
# Uploads lie in one folder of the service, which has this name in the system's temporary folder, and more characters.
FOLDER = "hear-serve-"
# Seconds that the song being scored has left when the service is told to stop.
GRACE = 5.0
# What a client that is told to come back should wait, in seconds.
RETRY_AFTER = 10
LONGEST_NAME = 255
# Errors of the system that mean: too many files are open.
_TOO_MANY_FILES = (errno.EMFILE, errno.ENFILE)


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What requests may cost.

    Attributes
    ----------
    megabytes
        Size of an upload (10⁶ bytes).
    minutes
        Length of a song. It limits the samples in all channels, too (see `read_audio`).
    seconds
        From the first byte of a request to its answer; waiting for others counts.
    waiting
        Songs that may wait while one is scored.

    Raises
    ------
    ScoringError
        One is not a finite number.
    """

    megabytes: float = 100.0
    minutes: float = 15.0
    seconds: float = 300.0
    waiting: int = 8

    def __post_init__(self) -> None:
        """Check what comparisons below take for granted."""
        for name in ("megabytes", "minutes", "seconds"):
            if not math.isfinite(getattr(self, name)):
                raise ScoringError(f"limits: expected a finite number of {name}, found {getattr(self, name)}")

    @property
    def bytes(self) -> int:
        """Size of an upload, in bytes."""
        return int(self.megabytes * 1e6)

    @property
    def disk(self) -> int:
        """Bytes of all uploads together: as many songs as may wait or be scored, and as much again that arrives."""
        return 2 * (self.waiting + 1) * self.bytes


class RefusedError(HearError):
    """A request that is not answered with scores: the HTTP status, and why, without control characters."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(_plain(why))
        self.status = status


class Upload:
    """The file that one request's audio is written to; made by `ScoringQueue`."""

    def __init__(self, folder: Path, has_room: Callable[[int], bool]) -> None:
        self.size = 0
        self._has_room = has_room
        with storing():
            place, name = tempfile.mkstemp(dir=folder)
        self.path = Path(name)
        # Without a buffer: a full disk is found out here, and closing cannot fail.
        self._file = os.fdopen(place, "wb", buffering=0)

    def write(self, block: bytes) -> None:
        """Append a block.

        Raises
        ------
        RefusedError
            507: the disk is full or cannot be written; 503: uploads hold all the disk that they may.
        """
        if not self._has_room(len(block)):
            raise RefusedError(503, "other uploads hold all the disk that they may; try again later")
        self.size += len(block)
        rest = memoryview(block)
        with storing():
            while rest:
                rest = rest[self._file.write(rest) :]

    def close(self) -> None:
        """All is written."""
        self._file.close()

    def remove(self) -> None:
        """Close and delete the file."""
        self._file.close()
        self.path.unlink(missing_ok=True)


@contextmanager
def storing() -> Iterator[None]:
    """Turn a failure to store an upload into a `RefusedError`."""
    try:
        yield
    except OSError as error:
        if error.errno in _TOO_MANY_FILES:
            raise RefusedError(503, "too many files are open; try again later") from error
        raise RefusedError(507, f"the upload cannot be stored: {error.strerror}; try again later") from error


class ScoringQueue:
    """Scores uploads one after the other: memory is that of one song.

    Uploads arrive beside each other. A song takes a place in the queue when all of it is there, so that slow uploads
    hold nobody up.

    Parameters
    ----------
    score
        File and deadline → row; runs in the one thread that scores.
    limits
        See `Limits`.

    Attributes
    ----------
    stopping
        Whether nothing new is taken any more.
    """

    def __init__(self, score: Callable[[Path, Deadline], SongScore], limits: Limits) -> None:
        self.limits = limits
        self._score = score
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="score")
        self._clear: Callable[[], object] = lambda: None
        self._folder = Path()
        self.stopping = False
        # Requests that are being answered: when each gives up, and its song once that has a place in the queue.
        self._asked: dict[asyncio.Timeout, Future[SongScore] | None] = {}
        # Changed by the thread that scores, too: only by what Python does in one step.
        self._uploads: set[Upload] = set()
        self._songs: set[Future[SongScore]] = set()

    @property
    def busy(self) -> bool:
        """Whether a song is being scored."""
        return any(song.running() for song in list(self._songs))

    async def answer(
        self, receive: Callable[[Upload], Awaitable[str]], gone: Callable[[], Awaitable[object]]
    ) -> SongScore:
        """Score an upload.

        Parameters
        ----------
        receive
            Writes the upload and returns its name.
        gone
            Called when the upload is complete; returns when nobody waits for the answer any more.

        Raises
        ------
        RefusedError
            413 too large or too long, 422 nothing that can be scored, 503 too busy, 504 too late, 507 no disk.
        """
        self._check_room()
        if sum(song is None for song in self._asked.values()) >= MOST_UPLOADS:
            raise RefusedError(503, f"{MOST_UPLOADS} uploads are arriving already; try again later")
        deadline = Deadline(self.limits.seconds)
        try:
            async with asyncio.timeout(self.limits.seconds) as limit:
                self._asked[limit] = None
                try:
                    upload, name = await self._received(receive)
                    self._asked[limit] = song = self._queued(upload, name, deadline)
                    return await _result(song, gone)
                finally:
                    del self._asked[limit]
                    # Whoever gave up, gave up for good.
                    deadline.end()
        except (TimeoutError, asyncio.CancelledError) as error:
            # What a stop ends, or the loop's end, is told so.
            self._check_open()
            if isinstance(error, asyncio.CancelledError):
                raise
            raise self._too_late() from None

    def stop(self) -> None:
        """Refuse what comes, what arrives and what waits; the song being scored has `GRACE` seconds left."""
        self.stopping = True
        now = asyncio.get_running_loop().time()
        for limit, song in self._asked.items():
            if not limit.expired():
                grace = GRACE if song is not None and song.running() else 0.0
                limit.reschedule(min(now + grace, limit.when() or now))

    def close(self) -> None:
        """Remove the folder; the thread ends with its song."""
        self.stopping = True
        self._thread.shutdown(wait=False, cancel_futures=True)
        self._clear()

    def _check_open(self) -> None:
        if self.stopping:
            raise RefusedError(503, "the service is stopping")

    def _too_late(self) -> RefusedError:
        return RefusedError(504, f"not done within {self.limits.seconds:g} s; try a shorter song, or later")

    def _check_room(self) -> None:
        self._check_open()
        if len(self._songs) > self.limits.waiting:
            raise RefusedError(503, f"{self.limits.waiting} songs wait already; try again later")

    async def _received(self, receive: Callable[[Upload], Awaitable[str]]) -> tuple[Upload, str]:
        upload = Upload(self._place(), self._has_room)
        self._uploads.add(upload)
        try:
            name = plain_name(await receive(upload))
            upload.close()
            if not upload.size:
                raise RefusedError(422, "the upload is empty; send an audio file")
            self._check_room()
        except BaseException:
            self._drop(upload)
            raise
        return upload, name

    def _place(self) -> Path:
        """The folder for uploads; a new one where there is none yet, or something has tidied it away."""
        if not self._folder.name or not self._folder.is_dir():
            with storing():
                self._folder = Path(tempfile.mkdtemp(prefix=FOLDER))
            self._clear = weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
        return self._folder

    def _has_room(self, size: int) -> bool:
        return sum(upload.size for upload in list(self._uploads)) + size <= self.limits.disk

    def _drop(self, upload: Upload) -> None:
        self._uploads.discard(upload)
        with suppress(OSError):  # the folder is removed at the end
            upload.remove()

    def _queued(self, upload: Upload, name: str, deadline: Deadline) -> Future[SongScore]:
        """Give the upload to the thread. It owns the file now: a request that gives up must not take it away."""
        song = self._thread.submit(self._scored, upload.path, name, deadline)
        self._songs.add(song)
        song.add_done_callback(lambda _: self._drop(upload))
        song.add_done_callback(self._songs.discard)
        return song

    def _scored(self, path: Path, name: str, deadline: Deadline) -> SongScore:
        try:
            row = self._score(path, deadline)
        except HearError as error:
            if not deadline.left:  # which is then why, whatever the error says
                raise self._too_late() from error
            status = 413 if isinstance(error, SongTooLongError) else 422
            raise RefusedError(status, f"{name}: {str(error).removeprefix(f'{path}: ')}") from error
        except MemoryError as error:
            raise RefusedError(503, f"{name}: memory does not suffice now; try again later") from error
        return replace(row, song_id=Path(name).stem, path=name)


async def _result(song: Future[SongScore], gone: Callable[[], Awaitable[object]]) -> SongScore:
    """The song's row; a song that nobody waits for any more is cancelled."""
    row, left = asyncio.wrap_future(song), asyncio.ensure_future(gone())
    both: set[asyncio.Future[Any]] = {row, left}
    try:
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        if not row.done():
            raise RefusedError(422, "the client did not wait for the answer")
        return row.result()
    finally:
        row.cancel()
        left.cancel()


def plain_name(name: str) -> str:
    """The last part of a file name, whatever system it is from, without control characters and not too long."""
    return _plain(PureWindowsPath(name).name or "song")[:LONGEST_NAME]


def _plain(text: str) -> str:
    """Text that does nothing but be read: what is not printable becomes a mark."""
    return "".join(mark if mark.isprintable() else "\N{REPLACEMENT CHARACTER}" for mark in text)
