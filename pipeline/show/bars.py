"""Progress on stderr: `Bar` counts anything; `AudioBar` also shows hours of audio and speed against real time."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Self

from rich.file_proxy import FileProxy
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from pipeline.show.output import console, cover
from store.files.visible import visible

# Seconds between two lines if stderr is not a terminal but, for example, a cluster's log.
LINE_EVERY = 60.0


class Bar:
    """A progress bar if stderr is a terminal; other output appears above it. A context manager.

    `what` is counted up to `total`, which may become known later.
    """

    def __init__(self, what: str, total: int | None = None) -> None:
        screen = console(err=True)
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[text]}", markup=False),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=screen,
            transient=True,
            disable=not screen.is_terminal,
        )
        self._task: TaskID = self._progress.add_task(what, total=total, text="")

    def __enter__(self) -> Self:
        self._progress.start()
        # Rich has replaced the standard streams by its own, which pass control codes on.
        cover(FileProxy)
        return self

    def __exit__(self, *raised: object) -> None:
        self._progress.stop()

    @property
    def is_shown(self) -> bool:
        """Whether stderr is a terminal."""
        return not self._progress.disable

    def count(self) -> None:
        """Count one, from any thread."""
        self._progress.advance(self._task)

    def update(self, *, done: int | None = None, total: int | None = None, text: str | None = None) -> None:
        """Set the given values: the count, the total, and the text beside them."""
        fields: dict[str, Any] = {} if text is None else {"text": text}
        self._progress.update(self._task, completed=done, total=total, **fields)

    def say(self, line: str) -> None:
        """Print a line above the bar."""
        self._progress.console.print(Text(visible(line)), soft_wrap=True)


class AudioBar(Bar):
    """Counts views or songs with hours of audio and speed; prints one line per minute if stderr is not a terminal."""

    def __init__(self, total: int, *, what: str = "views") -> None:
        super().__init__(what, total)
        self._what, self._total, self._counted = what, total, 0
        self._begun = self._printed = time.perf_counter()
        self._seconds = 0.0

    def step(self, seconds: float, *, note: str = "") -> None:
        """Count one with `seconds` of audio; `note` is shown before hours and speed."""
        self._seconds += seconds
        self._counted += 1
        now = time.perf_counter()
        speed = self._seconds / max(now - self._begun, 1e-9)
        text = f"{note}{self._seconds / 3600:.2f} h of audio, {speed:.1f}× real time"
        self.update(done=self._counted, text=text)
        if not self.is_shown and now - self._printed >= LINE_EVERY:
            self._printed = now
            minutes = (now - self._begun) / 60 * (self._total / self._counted - 1)
            self.say(f"{self._counted}/{self._total} {self._what}, {text}, {minutes:.0f} min left")


def progress(what: str) -> Callable[[Sequence[Any]], Iterable[Any]]:
    """Make a function that iterates over a list and shows a bar."""

    def iterate(items: Sequence[Any]) -> Iterator[Any]:
        with Bar(what, len(items)) as bar:
            for item in items:
                yield item
                bar.count()

    return iterate
