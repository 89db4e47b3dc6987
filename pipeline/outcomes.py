"""Outcomes of an extraction: shown, listed in failures.jsonl, and counted to stop a run with many failures."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from pipeline.shards import Shard
from pipeline.show.bars import AudioBar
from stages.extract.plan import Plan
from stages.extract.run import Outcome
from stages.songs.errors import printable
from store.errors import HearError
from store.files.replacing import is_device
from store.files.visible import to_json


class OutcomeLog:
    """Handles each outcome of a run, and sets `stop` after more than `max_failures` failed views."""

    def __init__(
        self, plan: Plan, bar: AudioBar, failures: TextIO, *, stop: threading.Event, max_failures: int | None
    ) -> None:
        self._views_left = {task.song_id: len(task.views) for task in plan.tasks}
        self._changed = set(plan.sources.changed)
        self._bar, self._failures = bar, failures
        self._stop, self._max_failures = stop, max_failures
        self._failed_songs: set[str] = set()
        self._failed_views = self._songs_done = 0
        self._printed: set[tuple[str, str]] = set()

    @property
    def reason(self) -> str:
        """Why the run ended early."""
        return f"more than {self._max_failures} views failed" if self._too_many else "interrupted"

    @property
    def renewed(self) -> int:
        """Number of songs with a changed file whose views have all been extracted again."""
        return sum(not self._views_left[song] for song in self._changed - self._failed_songs)

    @property
    def _too_many(self) -> bool:
        return self._max_failures is not None and self._failed_views > self._max_failures

    def add(self, outcome: Outcome) -> None:
        """Count, show and, if it is a failure, list an outcome."""
        self._views_left[outcome.song_id] -= 1
        self._songs_done += not self._views_left[outcome.song_id]
        self._bar.step(outcome.seconds, note=f"{self._songs_done}/{len(self._views_left)} songs, ")
        if outcome.error or outcome.damage:
            self._print(outcome)
        if outcome.status != "failed":
            return
        self._failed_views += 1
        self._failed_songs.add(outcome.song_id)
        row = {"song": outcome.song_id, "view": outcome.view, "error": outcome.error}
        with _writing(self._failures.name):
            self._failures.write(to_json(row) + "\n")
            self._failures.flush()
        if self._too_many:
            self._stop.set()

    def _print(self, outcome: Outcome) -> None:
        """Print an error or damage once per song, as a bad file fails in each view for the same reason."""
        problem = (outcome.song_id, outcome.error or outcome.damage)
        if problem in self._printed:
            return
        self._printed.add(problem)
        if outcome.error:
            self._bar.say(f"failed: {printable(outcome.song_id)} view {outcome.view}: {outcome.error}")
        else:
            self._bar.say(f"damaged: {printable(outcome.song_id)}: {outcome.damage}; the readable part was embedded")


@contextmanager
def failures_file(root: str, shard: Shard | None) -> Iterator[TextIO]:
    """Open `failures.jsonl` beside the store with this root; for a remote store, in the working directory.

    Shards run at the same time, so each has its own file, such as `failures.2-of-8.jsonl`.
    """
    name = f"failures.{shard}.jsonl" if shard else "failures.jsonl"
    path = Path(name) if "://" in root else Path(root).parent / name
    with _writing(path):
        if is_device(path):
            raise HearError(f"{path}: expected a regular file, found a device or a pipe; remove it")
        file = path.open("w", encoding="utf-8")
    try:
        yield file
    finally:
        with _writing(path):
            file.close()


@contextmanager
def _writing(path: Path | str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise HearError(f"{path}: cannot be written: {error.strerror}; failed songs are listed there") from error
