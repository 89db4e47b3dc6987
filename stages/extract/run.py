"""Extraction in one process: views are prepared ahead, encoded here, and written behind."""

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

# Records encoded but not yet written; with the one being encoded this bounds the memory.
WRITES_BEHIND = 2


class Stop(Protocol):
    """Whether a run should end: `threading.Event`, or Dask's."""

    def is_set(self) -> bool:
        """Whether it should."""


@dataclass(frozen=True)
class Outcome:
    """What became of one view.

    `seconds` is its duration; `error` says in one line why it failed; `damage` what of its file could not be heard.
    """

    song_id: str
    view: int
    status: Literal["done", "failed"]
    seconds: float = 0.0
    error: str = ""
    damage: str = ""


@dataclass
class Tally:
    """How a run went: records done, failures by name, seconds of audio, and where the time went (seconds).

    `damaged` are the songs of which a part was not heard; their records say what is missing.
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
        """Share of the encoders' time that they waited for input."""
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
    """Encodes prepared views and writes them; made once a process, as the encoders are heavy.

    `pool` averages that many frames into one before they are stored.
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
        """Make all views of the tasks; `report` hears of each outcome, `stop` ends the run after the views in hand.

        Raises
        ------
        StoreError
            The store cannot be written. A failure of a view is an outcome, not an error.
        """
        tally, begun = Tally(), time.perf_counter()

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
        tally.elapsed = time.perf_counter() - begun
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
        """The feed's views, the time spent waiting for them added up."""
        source = self.feed.views(wanted)
        while True:
            begun = time.perf_counter()
            item = next(source, None)
            tally.waiting += time.perf_counter() - begun
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
        begun = time.perf_counter()
        try:
            record = self._record(request, prepared)
        except (HearError, MemoryError) as error:
            reason = f"{shown(request.path)}: {str(error) or 'out of memory'}"
            settle(Outcome(request.song_id, request.view, "failed", error=reason))
            return
        finally:
            tally.encoding += time.perf_counter() - begun

        def put() -> Outcome:
            self.writer.write_record(record, replaces=request.replaces)
            seconds = len(prepared.samples) / SAMPLE_RATE
            return Outcome(request.song_id, request.view, "done", seconds, damage=damage_text(prepared.damage))

        write(put)

    def _record(self, request: ViewRequest, prepared: PreparedView) -> Record:
        """Encode; what the store could not hold (NaN, too large for float16) is this view's failure, not the run's."""
        frames = pool_frames(self.encoders.encode(prepared.samples), self.pool)
        if not np.isfinite(frames).all():
            raise HearError("the embeddings are not finite")
        attributes: dict[str, Any] = {
            "seconds": len(prepared.samples) / SAMPLE_RATE,
            **prepared.source.attributes,
            "drawn": prepared.drawn,
            **prepared.damage,
            "loudest_dbfs": loudest_second(prepared.samples),
            **self.encoders.notes,
        }
        return encode_record(self.writer.spec, request.song_id, request.view, frames, attributes)


def pool_frames(frames: NDArray[np.float32], pool: int) -> NDArray[np.float32]:
    """Average each `pool` consecutive frames: (S, T, C) → (S, ⌈T / pool⌉, C); the last group may be smaller."""
    if pool == 1:
        return frames
    starts = np.arange(0, frames.shape[1], pool)
    sums = np.add.reduceat(frames, starts, axis=1, dtype=np.float32)
    counts = np.diff(np.append(starts, frames.shape[1])).astype(np.float32)
    return np.asarray(sums / counts[None, :, None], dtype=np.float32)


@contextmanager
def _written_behind(settle: Callable[[Outcome], None]) -> Iterator[Callable[[Callable[[], Outcome]], None]]:
    """Give a function that puts records in a thread; at the end all are written, or the first error is raised."""
    pending: deque[Future[Outcome]] = deque()
    with ThreadPoolExecutor(1, thread_name_prefix="write") as thread:

        def write(put: Callable[[], Outcome]) -> None:
            while len(pending) >= WRITES_BEHIND:
                settle(pending.popleft().result())
            pending.append(thread.submit(put))

        yield write
        while pending:
            settle(pending.popleft().result())
