"""Extraction in one process: views are prepared ahead, encoded here, and written in the background."""

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from stages.extract.audio.loudness import loudest_second
from stages.extract.audio.reading import SAMPLE_RATE
from stages.extract.audio.waveform import damage_text
from stages.extract.plan import SongTask
from stages.extract.views.feed import FailedView, PreparedView, ViewFeed, ViewRequest
from stages.songs.errors import shown
from store import StoreWriter
from store.errors import HearError
from store.records import Record, encode_record

if TYPE_CHECKING:
    from stages.extract.encoders import MultiScale

# Records that may wait to be written. This bounds the memory, together with the one that is being encoded.
WRITES_BEHIND = 2


class Stop(Protocol):
    """A request to end a run: `threading.Event`, or Dask's."""

    def is_set(self) -> bool:
        """Whether the run should end."""


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

    `damaged` are the songs with parts that could not be decoded; their records have the details.
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
    feed: ViewFeed
    seed: int
    pool: int = 1

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

        with _written_behind(settle) as write:
            for request, prepared in self._timed(self._requests(tasks), tally):
                if isinstance(prepared, FailedView):
                    settle(Outcome(request.song_id, request.view, "failed", error=prepared.error))
                else:
                    self._encode_and_write(request, prepared, tally, settle, write)
                if stop is not None and stop.is_set():
                    break
        tally.elapsed = time.perf_counter() - start
        return tally

    def _requests(self, tasks: Sequence[SongTask]) -> list[ViewRequest]:
        return [
            ViewRequest(task.song_id, task.path, view, self.seed, replaces=task.replaces.get(view))
            for task in tasks
            for view in task.views
        ]

    def _timed(
        self, wanted: list[ViewRequest], tally: Tally
    ) -> Iterator[tuple[ViewRequest, PreparedView | FailedView]]:
        """The feed's views; the time spent waiting for them is added to the tally."""
        source = self.feed.views(wanted)
        while True:
            start = time.perf_counter()
            item = next(source, None)
            tally.waiting += time.perf_counter() - start
            if item is None:
                return
            yield item

    def _encode_and_write(
        self,
        request: ViewRequest,
        prepared: PreparedView,
        tally: Tally,
        settle: Callable[[Outcome], None],
        write: Callable[[Callable[[], Outcome]], None],
    ) -> None:
        start = time.perf_counter()
        try:
            record = self._record(request, prepared)
        except (HearError, MemoryError) as error:
            reason = f"{shown(request.path)}: {str(error) or 'out of memory'}"
            settle(Outcome(request.song_id, request.view, "failed", error=reason))
            return
        finally:
            tally.encoding += time.perf_counter() - start

        def put() -> Outcome:
            self.writer.write_record(record, replaces=request.replaces)
            seconds = len(prepared.samples) / SAMPLE_RATE
            return Outcome(request.song_id, request.view, "done", seconds, damage=damage_text(prepared.damage))

        write(put)

    def _record(self, request: ViewRequest, prepared: PreparedView) -> Record:
        """Encode a view. Values that cannot be stored (NaN, too large for float16) fail the view, not the run."""
        launched = self.encoders.launch(prepared.samples)
        frames = average_frames(launched.frames(), self.pool)
        attributes: dict[str, Any] = {
            "seconds": len(prepared.samples) / SAMPLE_RATE,
            **prepared.source.attributes,
            "drawn": prepared.drawn,
            **prepared.damage,
            "loudest_dbfs": loudest_second(prepared.samples),
            **launched.notes,
        }
        return encode_record(self.writer.spec, request.song_id, request.view, frames, attributes)


def average_frames(frames: NDArray[np.float32], count: int) -> NDArray[np.float32]:
    """Average groups of `count` consecutive frames: (S, T, C) → (S, ⌈T / count⌉, C); the last group may be smaller."""
    if count == 1:
        return frames
    starts = np.arange(0, frames.shape[1], count)
    sums = np.add.reduceat(frames, starts, axis=1, dtype=np.float32)
    sizes = np.diff(np.append(starts, frames.shape[1])).astype(np.float32)
    return np.asarray(sums / sizes[None, :, None], dtype=np.float32)


@contextmanager
def _written_behind(settle: Callable[[Outcome], None]) -> Iterator[Callable[[Callable[[], Outcome]], None]]:
    """Yield a function that writes records in a thread. At the end all are written, or the first error is raised."""
    pending: deque[Future[Outcome]] = deque()
    with ThreadPoolExecutor(1, thread_name_prefix="write") as thread:

        def write(put: Callable[[], Outcome]) -> None:
            while len(pending) >= WRITES_BEHIND:
                settle(pending.popleft().result())
            pending.append(thread.submit(put))

        yield write
        while pending:
            settle(pending.popleft().result())
