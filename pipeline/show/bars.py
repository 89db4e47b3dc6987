"""A progress bar on stderr: songs' views, hours of audio, speed against real time, and time left."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Self

from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn

from pipeline.show.output import Bar

# Seconds between two lines where stderr is no terminal, such as a cluster's log.
LINE_EVERY = 60.0


class ExtractionProgress:
    """Counts views as they are done or fail; a context manager. A bar on a terminal, elsewhere a line a minute."""

    def __init__(self, views: int, *, what: str = "views") -> None:
        self._bar = Bar(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[speed]}"),
            TimeRemainingColumn(),
        )
        self._task = self._bar.add_task(what, total=views, speed="")
        self._what, self._views, self._counted = what, views, 0
        self._begun = self._told = time.perf_counter()
        self._seconds = 0.0

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *raised: object) -> None:
        self._bar.stop()

    def step(self, seconds: float, *, note: str = "") -> None:
        """Count one view of `seconds` of audio; `note` is shown before hours and speed."""
        self._seconds += seconds
        self._counted += 1
        now = time.perf_counter()
        speed = self._seconds / max(now - self._begun, 1e-9)
        shown = f"{note}{self._seconds / 3600:.2f} h of audio, {speed:.1f}× real time"
        self._bar.update(self._task, advance=1, speed=shown)
        if self._bar.disable and now - self._told >= LINE_EVERY:
            self._told = now
            minutes = (now - self._begun) / 60 * (self._views / self._counted - 1)
            self.say(f"{self._counted}/{self._views} {self._what}, {shown}, {minutes:.0f} min left")

    def say(self, line: str) -> None:
        """Print a line above the bar."""
        self._bar.say(line)


@contextmanager
def counting(what: str, total: int) -> Iterator[Callable[[], None]]:
    """A bar on a terminal for things that are simply counted; calls of what it gives count one, from any thread."""
    bar = Bar(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with bar:
        task = bar.add_task(what, total=total)
        yield lambda: bar.advance(task)


def bar(what: str) -> Callable[[Sequence[Any]], Iterable[Any]]:
    """A function that goes through a list with a progress bar on stderr."""

    def go_through(items: Sequence[Any]) -> Iterator[Any]:
        with counting(what, len(items)) as count:
            for item in items:
                yield item
                count()

    return go_through
