"""The queue of uploads in front of the one thread that scores."""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from pathlib import Path, PureWindowsPath
from typing import Any

from stages.scoring.deadline import Deadline
from stages.scoring.errors import SongTooLongError
from stages.scoring.rows import SongScore
from stages.scoring.service.limits import Limits, RefusedError
from stages.scoring.service.metrics import Metrics
from stages.scoring.service.open_request import OpenRequest, make_room
from stages.scoring.service.request_log import RequestRecord
from stages.scoring.service.uploads import Begin, Upload, Uploads
from store.errors import HearError
from store.files.visible import visible

# Seconds left for the song being scored when the service stops.
GRACE = 5.0
LONGEST_NAME = 255
EMPTY = "the upload is empty; send an audio file"
STOPPING = "the service is stopping"

Receive = Callable[[Begin], Awaitable[None]]
Disconnected = Callable[[], Awaitable[object]]


class DisconnectedError(RefusedError):
    """The client disconnected before the answer."""

    def __init__(self) -> None:
        super().__init__(422, "the client disconnected before the answer")


class ScoringQueue:
    """Scores uploads one after the other, so that memory is that of one song.

    Uploads arrive side by side. A song enters the queue when its upload is complete, so that slow uploads do not delay
    others. A batch has one place: each of its songs enters the queue, behind those of others, when the one before it is
    scored.

    Parameters
    ----------
    score
        File and deadline → row; runs in the thread that scores.
    limits
        See `Limits`.
    metrics
        Counts songs and their times.

    Attributes
    ----------
    stopping
        Whether new requests are refused.
    """

    def __init__(self, score: Callable[[Path, Deadline], SongScore], limits: Limits, metrics: Metrics) -> None:
        self.limits = limits
        self._score, self._metrics = score, metrics
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="score")
        self._uploads = Uploads(limits.disk)
        self.stopping = False
        self._requests: set[OpenRequest] = set()
        # The scoring thread changes it, too: only by operations that are atomic in Python.
        self._songs: set[Future[SongScore]] = set()
        metrics.watch(places=lambda: len(self._places), stored=lambda: self._uploads.size)

    @property
    def busy(self) -> bool:
        """Whether a song is being scored."""
        return any(song.running() for song in list(self._songs))

    async def answer(self, receive: Receive, disconnected: Disconnected, record: RequestRecord) -> SongScore:
        """Score one upload.

        Parameters
        ----------
        receive
            Writes the upload to a file that it begins.
        disconnected
            Called when the upload is complete; returns when the client has disconnected.
        record
            Gets the time in the queue.

        Raises
        ------
        RefusedError
            413 too large or too long, 422 cannot be scored, 503 too busy, 504 too late, 507 no disk space.
        """
        with self._request(OpenRequest(record)) as request:
            async with self._timed(request) as deadline:
                (upload,) = await self._received(request, receive)
                return await self._result(request, upload, deadline, disconnected)

    async def batch(
        self, receive: Receive, disconnected: Disconnected, record: RequestRecord
    ) -> AsyncGenerator[SongScore, None]:
        """Score several uploads of one request, in order; one that cannot be scored gives a row with an error.

        Parameters and errors are those of `answer`. After the first row, only `DisconnectedError` occurs.
        """
        with self._request(OpenRequest(record, batch=True)) as request:
            async with self._timed(request):
                uploads = await self._received(request, receive)
            try:
                while uploads:
                    yield await self._row(request, uploads.pop(0), disconnected)
            finally:
                for upload in uploads:
                    self._uploads.remove(upload)

    def stop(self) -> None:
        """Refuse new requests, uploads and waiting songs; the song being scored has `GRACE` seconds left."""
        self.stopping = True
        now = asyncio.get_running_loop().time()
        for request in self._requests:
            timeout = request.timeout
            if timeout is not None and not timeout.expired():
                grace = GRACE if request.song is not None and request.song.running() else 0.0
                timeout.reschedule(min(now + grace, timeout.when() or now))

    def close(self) -> None:
        """Remove all uploads; the thread ends with its song."""
        self.stopping = True
        self._thread.shutdown(wait=False, cancel_futures=True)
        self._uploads.close()

    @property
    def _places(self) -> set[Future[SongScore]]:
        """The songs that take a place: those that wait or are scored, and one of each batch."""
        return set(self._songs) | {request.song for request in self._requests if request.song is not None}

    @contextmanager
    def _request(self, request: OpenRequest) -> Iterator[OpenRequest]:
        """Within this context, the request counts."""
        self._check_queue(request)
        make_room(self._requests)
        self._requests.add(request)
        try:
            yield request
        finally:
            self._requests.discard(request)

    @asynccontextmanager
    async def _timed(self, request: OpenRequest) -> AsyncIterator[Deadline]:
        """Within this context, the request must end in time."""
        deadline = Deadline(self.limits.seconds)
        try:
            async with asyncio.timeout(self.limits.seconds) as request.timeout:
                yield deadline
        except (TimeoutError, asyncio.CancelledError) as error:
            # If the service is stopping, that is the reason to report.
            self._check_open()
            if isinstance(error, asyncio.CancelledError):
                raise
            if request.slowest:
                raise RefusedError(503, "the upload was the slowest of too many at once; try again later") from None
            raise self._too_late() from None
        finally:
            request.timeout = None
            deadline.expire()

    def _check_open(self) -> None:
        if self.stopping:
            raise RefusedError(503, STOPPING)

    def _too_late(self) -> RefusedError:
        return RefusedError(504, f"not scored within {self.limits.seconds:g} s; try a shorter song, or try again later")

    def _check_queue(self, request: OpenRequest) -> None:
        self._check_open()
        if len(self._places) > self.limits.waiting:
            raise RefusedError(503, f"the queue is full (at most {self.limits.waiting} songs); try again later")
        if request.batch and sum(one.batch and one.song is not None for one in self._requests) >= self.limits.batches:
            raise RefusedError(503, f"too many batches at once (at most {self.limits.batches}); try again later")

    async def _received(self, request: OpenRequest, receive: Receive) -> list[Upload]:
        uploads = request.uploads

        def begin(name: str) -> Upload:
            if uploads:
                uploads[-1].close()
            uploads.append(self._uploads.add(plain_name(name)))
            return uploads[-1]

        try:
            await receive(begin)
            uploads[-1].close()
            if not (request.batch or uploads[0].size):
                raise RefusedError(422, EMPTY)
            self._check_queue(request)
        except BaseException:
            for upload in uploads:
                self._uploads.remove(upload)
            raise
        return uploads

    async def _row(self, request: OpenRequest, upload: Upload, disconnected: Disconnected) -> SongScore:
        """The row of a song in a batch."""
        try:
            if self.stopping or not upload.size:
                self._uploads.remove(upload)
                raise RefusedError(422, STOPPING if self.stopping else EMPTY)
            async with self._timed(request) as deadline:
                return await self._result(request, upload, deadline, disconnected)
        except DisconnectedError:
            raise
        except RefusedError as refused:
            name = upload.name
            return SongScore(song_id=Path(name).stem, path=name, error=str(refused).removeprefix(f"{name}: "))

    async def _result(
        self, request: OpenRequest, upload: Upload, deadline: Deadline, disconnected: Disconnected
    ) -> SongScore:
        """The song's row; if the client disconnects first, the song is cancelled."""
        begun = time.monotonic()
        request.song = song = self._submit(upload, deadline, request.record)
        row, end = asyncio.wrap_future(song), asyncio.ensure_future(disconnected())
        both: set[asyncio.Future[Any]] = {row, end}
        try:
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            if not row.done():
                raise DisconnectedError
            return row.result()
        finally:
            if song.cancel():
                request.record.waited += time.monotonic() - begun
            row.cancel()
            end.cancel()

    def _submit(self, upload: Upload, deadline: Deadline, record: RequestRecord) -> Future[SongScore]:
        """Give the upload to the scoring thread, which owns its file from now on, even if the request gives up."""
        song = self._thread.submit(self._scored, upload, deadline, record, time.monotonic())
        self._songs.add(song)
        song.add_done_callback(lambda _: self._uploads.remove(upload))
        song.add_done_callback(self._songs.discard)
        return song

    def _scored(self, upload: Upload, deadline: Deadline, record: RequestRecord, submitted: float) -> SongScore:
        begun, row = time.monotonic(), None
        record.waited += begun - submitted
        self._metrics.count_wait(begun - submitted)
        name = upload.name
        try:
            row = self._score(upload.path, deadline)
        except HearError as error:
            if not deadline.remaining:  # the actual cause of the error
                raise self._too_late() from error
            status = 413 if isinstance(error, SongTooLongError) else 422
            raise RefusedError(status, f"{name}: {str(error).removeprefix(f'{upload.path}: ')}") from error
        except MemoryError as error:
            raise RefusedError(503, f"{name}: not enough memory at the moment; try again later") from error
        finally:
            self._metrics.count_song(row, time.monotonic() - begun)
        return replace(row, song_id=Path(name).stem, path=name)


def plain_name(name: str) -> str:
    """The last part of a file name from any system, with control characters escaped, at most `LONGEST_NAME` long."""
    return visible(PureWindowsPath(name).name or "song")[:LONGEST_NAME]
