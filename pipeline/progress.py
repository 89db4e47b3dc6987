"""A progress bar on stderr: songs' views, hours of audio, speed against real time, and time left."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


class ExtractionProgress:
    """Counts views as they are done or fail; a context manager."""

    def __init__(self, views: int, *, what: str = "views") -> None:
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[speed]}"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        self._task = self._bar.add_task(what, total=views, speed="")
        self._begun = time.perf_counter()
        self._seconds = 0.0

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *raised: object) -> None:
        self._bar.stop()

    def step(self, seconds: float) -> None:
        """Count one view of `seconds` of audio."""
        self._seconds += seconds
        speed = self._seconds / max(time.perf_counter() - self._begun, 1e-9)
        self._bar.update(self._task, advance=1, speed=f"{self._seconds / 3600:.2f} h of audio, {speed:.1f}× real time")

    def say(self, line: str) -> None:
        """Print a line above the bar."""
        self._bar.console.print(line, markup=False, highlight=False, soft_wrap=True)


@contextmanager
def counting(what: str, total: int) -> Iterator[Callable[[], None]]:
    """A bar on stderr for things that are simply counted; calls of what it gives count one, from any thread."""
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )
    with bar:
        task = bar.add_task(what, total=total)
        yield lambda: bar.advance(task)
