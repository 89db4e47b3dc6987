"""The queue of uploads in front of the one thread that scores."""

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path, PureWindowsPath
from typing import Any

from stages.scoring.deadline import Deadline
from stages.scoring.errors import SongTooLongError
from stages.scoring.rows import SongScore
from stages.scoring.service.limits import Limits, RefusedError
from stages.scoring.service.uploads import Upload, Uploads
from store.errors import HearError
from store.files.visible import visible

# Uploads that may arrive at the same time. Each keeps a file open; they take disk space, not memory.
MOST_UPLOADS = 128
# Seconds left for the song being scored when the service stops.
GRACE = 5.0
LONGEST_NAME = 255


class ScoringQueue:
    """Scores uploads one after the other, so that memory is that of one song.

    Uploads arrive side by side. A song enters the queue when its upload is complete, so that slow uploads do not delay
    others.

    Parameters
    ----------
    score
        File and deadline → row; runs in the thread that scores.
    limits
        See `Limits`.

    Attributes
    ----------
    stopping
        Whether new requests are refused.
    """

    def __init__(self, score: Callable[[Path, Deadline], SongScore], limits: Limits) -> None:
        self.limits = limits
        self._score = score
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="score")
        self._uploads = Uploads(limits.disk)
        self.stopping = False
        # Requests in progress: the timeout of each, and its song as soon as that is in the queue.
        self._requests: dict[asyncio.Timeout, Future[SongScore] | None] = {}
        # The scoring thread changes it, too: only by operations that are atomic in Python.
        self._songs: set[Future[SongScore]] = set()

    @property
    def busy(self) -> bool:
        """Whether a song is being scored."""
        return any(song.running() for song in list(self._songs))

    async def answer(
        self, receive: Callable[[Upload], Awaitable[str]], disconnected: Callable[[], Awaitable[object]]
    ) -> SongScore:
        """Score an upload.

        Parameters
        ----------
        receive
            Writes the upload and returns its name.
        disconnected
            Called when the upload is complete; returns when the client has disconnected.

        Raises
        ------
        RefusedError
            413 too large or too long, 422 cannot be scored, 503 too busy, 504 too late, 507 no disk space.
        """
        self._check_queue()
        if sum(song is None for song in self._requests.values()) >= MOST_UPLOADS:
            raise RefusedError(503, f"too many uploads at once (at most {MOST_UPLOADS}); try again later")
        deadline = Deadline(self.limits.seconds)
        try:
            async with asyncio.timeout(self.limits.seconds) as timeout:
                self._requests[timeout] = None
                try:
                    upload, name = await self._received(receive)
                    self._requests[timeout] = song = self._submit(upload, name, deadline)
                    return await _result(song, disconnected)
                finally:
                    del self._requests[timeout]
                    deadline.expire()
        except (TimeoutError, asyncio.CancelledError) as error:
            # If the service is stopping, that is the reason to report.
            self._check_open()
            if isinstance(error, asyncio.CancelledError):
                raise
            raise self._too_late() from None

    def stop(self) -> None:
        """Refuse new requests, uploads and waiting songs; the song being scored has `GRACE` seconds left."""
        self.stopping = True
        now = asyncio.get_running_loop().time()
        for timeout, song in self._requests.items():
            if not timeout.expired():
                grace = GRACE if song is not None and song.running() else 0.0
                timeout.reschedule(min(now + grace, timeout.when() or now))

    def close(self) -> None:
        """Remove all uploads; the thread ends with its song."""
        self.stopping = True
        self._thread.shutdown(wait=False, cancel_futures=True)
        self._uploads.close()

    def _check_open(self) -> None:
        if self.stopping:
            raise RefusedError(503, "the service is stopping")

    def _too_late(self) -> RefusedError:
        return RefusedError(504, f"not scored within {self.limits.seconds:g} s; try a shorter song, or try again later")

    def _check_queue(self) -> None:
        self._check_open()
        if len(self._songs) > self.limits.waiting:
            raise RefusedError(503, f"the queue is full (at most {self.limits.waiting} songs); try again later")

    async def _received(self, receive: Callable[[Upload], Awaitable[str]]) -> tuple[Upload, str]:
        upload = self._uploads.add()
        try:
            name = plain_name(await receive(upload))
            upload.close()
            if not upload.size:
                raise RefusedError(422, "the upload is empty; send an audio file")
            self._check_queue()
        except BaseException:
            self._uploads.remove(upload)
            raise
        return upload, name

    def _submit(self, upload: Upload, name: str, deadline: Deadline) -> Future[SongScore]:
        """Give the upload to the scoring thread, which owns its file from now on, even if the request gives up."""
        song = self._thread.submit(self._scored, upload.path, name, deadline)
        self._songs.add(song)
        song.add_done_callback(lambda _: self._uploads.remove(upload))
        song.add_done_callback(self._songs.discard)
        return song

    def _scored(self, path: Path, name: str, deadline: Deadline) -> SongScore:
        try:
            row = self._score(path, deadline)
        except HearError as error:
            if not deadline.remaining:  # the actual cause of the error
                raise self._too_late() from error
            status = 413 if isinstance(error, SongTooLongError) else 422
            raise RefusedError(status, f"{name}: {str(error).removeprefix(f'{path}: ')}") from error
        except MemoryError as error:
            raise RefusedError(503, f"{name}: not enough memory at the moment; try again later") from error
        return replace(row, song_id=Path(name).stem, path=name)


async def _result(song: Future[SongScore], disconnected: Callable[[], Awaitable[object]]) -> SongScore:
    """The song's row; if the client disconnects first, the song is cancelled."""
    row, end = asyncio.wrap_future(song), asyncio.ensure_future(disconnected())
    both: set[asyncio.Future[Any]] = {row, end}
    try:
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        if not row.done():
            raise RefusedError(422, "the client disconnected before the answer")
        return row.result()
    finally:
        row.cancel()
        end.cancel()


def plain_name(name: str) -> str:
    """The last part of a file name from any system, with control characters escaped, at most `LONGEST_NAME` long."""
    return visible(PureWindowsPath(name).name or "song")[:LONGEST_NAME]
