"""Where uploads wait for the one thread that scores, and are refused when they cost too much."""

import asyncio
import math
import tempfile
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path, PureWindowsPath
from typing import IO

from stages.scoring.errors import ScoringError, SongTooLongError
from stages.scoring.rows import Row
from store.errors import HearError


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What one request may cost.

    Attributes
    ----------
    megabytes
        Size of an upload (10⁶ bytes).
    minutes
        Length of a song.
    seconds
        From the first byte of a request to its answer; waiting for others counts.
    waiting
        Requests that may wait while one is scored.

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


class RefusedError(HearError):
    """A request that is not answered with scores: the HTTP status, and why."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


class Desk:
    """Scores uploads one after the other: memory is that of one song.

    Parameters
    ----------
    score
        File → row; runs in the one thread that scores.
    limits
        See `Limits`.
    """

    def __init__(self, score: Callable[[Path], Row], limits: Limits) -> None:
        self.limits = limits
        self._score = score
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="score")
        self._inside = 0

    async def answer(self, receive: Callable[[IO[bytes]], Awaitable[str]]) -> Row:
        """Score an upload: `receive` writes it to a file and tells its name.

        Raises
        ------
        RefusedError
            413 too large or too long, 422 nothing that can be scored, 503 too busy, 504 too late.
        """
        if self._inside > self.limits.waiting:
            raise RefusedError(503, f"{self.limits.waiting} songs wait already; try again later")
        self._inside += 1
        try:
            async with asyncio.timeout(self.limits.seconds):
                return await self._answer(receive)
        except TimeoutError:
            raise RefusedError(
                504, f"not done within {self.limits.seconds:g} s; try a shorter song, or later"
            ) from None
        finally:
            self._inside -= 1

    def close(self) -> None:
        """End the thread when its song is done."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _answer(self, receive: Callable[[IO[bytes]], Awaitable[str]]) -> Row:
        with tempfile.NamedTemporaryFile(delete=False) as file:
            path = Path(file.name)
            try:
                name = plain_name(await receive(file))
            except BaseException:
                path.unlink()
                raise
        # From here the thread owns the file: a request that gives up must not take it away.
        future = self._thread.submit(self._scored, path, name)
        future.add_done_callback(lambda _: path.unlink(missing_ok=True))
        return await asyncio.wrap_future(future)

    def _scored(self, path: Path, name: str) -> Row:
        try:
            if path.stat().st_size == 0:
                raise RefusedError(422, "the upload is empty; send an audio file")
            row = self._score(path)
        except RefusedError:
            raise
        except HearError as error:
            status = 413 if isinstance(error, SongTooLongError) else 422
            raise RefusedError(status, f"{name}: {str(error).removeprefix(f'{path}: ')}") from error
        return replace(row, song_id=Path(name).stem, path=name)


def plain_name(name: str) -> str:
    """The last part of a file name, whatever system it is from."""
    return PureWindowsPath(name).name or "song"
