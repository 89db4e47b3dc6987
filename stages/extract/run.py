"""Extraction in one process: views are prepared ahead in processes, encoded here, and written by threads."""

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from stages.extract.audio.reading import SAMPLE_RATE
from stages.extract.audio.waveform import damage_text
from stages.extract.plan import SongTask
from stages.extract.views.prepare import FailedView, PreparedView, SongRequest
from stages.songs.errors import shown
from store import StoreWriter
from store.errors import HearError
from store.records import Record, encode_record

if TYPE_CHECKING:
    from stages.extract.encoders import MultiScale
    from stages.extract.encoders.multiscale import Launched

# Threads that wait for frames and write them, views between launch and the end of their writing, and their audio in
# seconds: half an hour is 740 MB of float32 frames. One view of any length always passes.
WRITERS, VIEWS_BEHIND, SECONDS_BEHIND = 3, 6, 1_800.0


class Stop(Protocol):
    """A request to end a run: `threading.Event`, or Dask's."""

    def is_set(self) -> bool:
        """Whether the run should end."""


class Feed(Protocol):
    """Prepares views in any order, such as a `ViewFeed`."""

    def views(self, requests: list[SongRequest], /) -> Iterator[tuple[SongRequest, PreparedView | FailedView]]:
        """Yield each view of the requests when it is ready."""

    def close(self) -> None:
        """Drop views that are not ready."""


@dataclass(frozen=True)
class Outcome:
    """The result of one view.

    `seconds` is its duration, `error` a one-line reason for a failure, `damage` a description of the file's damage.
    """

    song_id: str
    view: int
    status: Literal["done", "failed"]
    seconds: float = 0.0
    error: str = ""
    damage: str = ""


@dataclass
class Tally:
    """Totals of a run: records done, failures, seconds of audio, and times in seconds.

    `damaged` are the songs with parts that could not be decoded; their records have the details. `waiting` is the time
    without a prepared view; `encoding` that of launching views and of waiting until launched views are encoded and
    written.
    """

    done: int = 0
    failures: list[Outcome] = field(default_factory=list)
    damaged: set[str] = field(default_factory=set)
    audio: float = 0.0
    waiting: float = 0.0
    encoding: float = 0.0
    elapsed: float = 0.0

    @property
    def idle(self) -> float:
        """Fraction of the encoders' time spent waiting for input."""
        return self.waiting / max(self.waiting + self.encoding, 1e-9)

    def add(self, outcome: Outcome) -> None:
        """Count one outcome."""
        if outcome.status == "failed":
            self.failures.append(outcome)
        else:
            self.done += 1
            self.audio += outcome.seconds
            if outcome.damage:
                self.damaged.add(outcome.song_id)


@dataclass
class Extractor:
    """Encodes prepared views and writes them. There is one per process, because the encoders are large.

    `pool` frames are averaged into one before they are stored.
    """

    encoders: "MultiScale"
    writer: StoreWriter
    feed: Feed
    seed: int
    pool: int = 1

    @property
    def _dtype(self) -> str:
        """The type of the encoders' frames: that of the store, unless they are averaged first."""
        return self.writer.spec.dtype if self.pool == 1 else "float32"

    def run(
        self,
        tasks: Sequence[SongTask],
        *,
        report: Callable[[Outcome], None],
        stop: Stop | None = None,
    ) -> Tally:
        """Make all views of the tasks. `report` gets each outcome, `stop` ends the run after the current views.

        Raises
        ------
        StoreError
            The store cannot be written. A failed view is an outcome, not an error.
        """
        tally, start = Tally(), time.perf_counter()

        def settle(outcome: Outcome) -> None:
            tally.add(outcome)
            report(outcome)

        with _Writers(settle) as writers:
            for request, prepared in self._timed(self._requests(tasks), tally):
                if isinstance(prepared, FailedView):
                    settle(Outcome(request.song_id, prepared.view, "failed", error=prepared.error))
                else:
                    self._launch(request, prepared, writers, settle)
                if stop is not None and stop.is_set():
                    break
            writers.finish()
        tally.elapsed = time.perf_counter() - start
        tally.encoding = tally.elapsed - tally.waiting if writers.used else 0.0
        return tally

    def _requests(self, tasks: Sequence[SongTask]) -> list[SongRequest]:
        return [SongRequest(task.song_id, task.path, task.views, self.seed, replaces=task.replaces) for task in tasks]

    def _timed(
        self, wanted: list[SongRequest], tally: Tally
    ) -> Iterator[tuple[SongRequest, PreparedView | FailedView]]:
        """The feed's views; the time spent waiting for them is added to the tally."""
        source = self.feed.views(wanted)
        while True:
            start = time.perf_counter()
            item = next(source, None)
            tally.waiting += time.perf_counter() - start
            if item is None:
                return
            yield item

    def _launch(
        self, request: SongRequest, prepared: PreparedView, writers: "_Writers", settle: Callable[[Outcome], None]
    ) -> None:
        """Begin to encode a view; a thread does the rest."""
        seconds = len(prepared.samples) / SAMPLE_RATE
        done = Outcome(request.song_id, prepared.view, "done", seconds, damage=damage_text(prepared.damage))
        failed = partial(Outcome, request.song_id, prepared.view, "failed")
        attributes: dict[str, Any] = {
            "seconds": seconds,
            **prepared.source.attributes,
            "drawn": prepared.drawn,
            **prepared.damage,
            "loudest_dbfs": prepared.loudest,
        }
        writers.wait_for_room(seconds)
        try:
            # A list, so that the thread can drop the frames before it writes the record.
            launched = [self.encoders.launch(prepared.samples, dtype=self._dtype)]
        except (HearError, MemoryError) as error:
            settle(failed(error=_reason(request, error)))
            return

        def write() -> Outcome:
            try:
                record = self._record(request.song_id, done.view, launched.pop(), attributes)
            except (HearError, MemoryError) as error:
                return failed(error=_reason(request, error))
            self.writer.write_record(record, replaces=request.replaces.get(done.view))
            return done

        writers.submit(seconds, write)

    def _record(self, song_id: str, view: int, launched: "Launched", attributes: dict[str, Any]) -> Record:
        """Wait for a view's frames. Values that cannot be stored (NaN, too large for float16) fail the view."""
        frames = average_frames(launched.frames(), self.pool)
        return encode_record(self.writer.spec, song_id, view, frames, {**attributes, **launched.notes})


def _reason(request: SongRequest, error: Exception) -> str:
    return f"{shown(request.path)}: {str(error) or 'out of memory'}"


def average_frames(frames: NDArray[np.floating], count: int) -> NDArray[np.floating]:
    """Average groups of `count` consecutive frames: (S, T, C) → (S, ⌈T / count⌉, C); the last group may be smaller."""
    if count == 1:
        return frames
    starts = np.arange(0, frames.shape[1], count)
    sums = np.add.reduceat(frames, starts, axis=1, dtype=np.float32)
    sizes = np.diff(np.append(starts, frames.shape[1])).astype(np.float32)
    return np.asarray(sums / sizes[None, :, None], dtype=np.float32)


class _Writers:
    """Threads that write views after their launch. Outcomes are settled in the thread that launches.

    `used` tells whether a view was launched.
    """

    def __init__(self, settle: Callable[[Outcome], None]) -> None:
        self.used = False
        self._settle = settle
        self._threads = ThreadPoolExecutor(WRITERS, thread_name_prefix="write")
        self._pending: deque[tuple[float, Future[Outcome]]] = deque()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        # Also after an error, views that were launched are written.
        self._threads.shutdown(wait=True)

    def wait_for_room(self, seconds: float) -> None:
        """Wait until a view of `seconds` may be launched. Raises the first error of a thread."""
        self.used = True
        while self._pending and (
            self._pending[0][1].done()
            or len(self._pending) >= VIEWS_BEHIND
            or sum(length for length, _ in self._pending) + seconds > SECONDS_BEHIND
        ):
            self._settle_first()

    def submit(self, seconds: float, write: Callable[[], Outcome]) -> None:
        """Write a view of `seconds` in a thread."""
        self._pending.append((seconds, self._threads.submit(write)))

    def finish(self) -> None:
        """Wait until all views are written. Raises the first error of a thread."""
        while self._pending:
            self._settle_first()

    def _settle_first(self) -> None:
        self._settle(self._pending.popleft()[1].result())
