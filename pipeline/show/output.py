"""What the commands print: all of it goes through here, and nothing in a name can act on the terminal.

Names of files, songs, tensors and columns, and messages of other libraries, come from strangers. Unprintable
characters are written as escapes; see `store.files.visible`. Only the colours and cursor movements of rich, and those
of the progress bars of the hub's library, pass.
"""

import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import IO, Any, TextIO, cast

import rich.console
import typer
from rich.console import Console, ConsoleOptions, RenderableType
from rich.file_proxy import FileProxy
from rich.progress import Progress, ProgressColumn, TextColumn
from rich.segment import Segment
from rich.text import Text

from store.errors import HearError
from store.files.visible import to_json, visible

# How the bars of the hub's library begin to write over themselves, and go up among each other.
_BAR_MOVES = re.compile(r"\r(?=[^\r]*\Z)|(?:\x1b\[A)+\Z")


def say(line: str, *, err: bool = False) -> None:
    """Print one line; a newline in it is shown as `\\n`."""
    typer.echo(visible(line), err=err)


def note(line: str) -> None:
    """Print one line to standard error."""
    say(line, err=True)


def say_table(text: str) -> None:
    """Print lines whose newlines are ours: values in them went through `visible`."""
    typer.echo(visible(text, keep="\n"))


def say_json(value: Any, *, indent: int | None = None) -> None:
    """Print JSON, on one line if there is no `indent`."""
    typer.echo(to_json(value, indent=indent))


def write_csv(text: str) -> None:
    """Print CSV: for a program to the letter, on a terminal with escapes, which CSV itself does not have."""
    stream = cast(TextIO | None, sys.stdout)
    if stream is None:  # closed by the caller
        return
    # Not Typer's echo: it takes colours out of what a program gets.
    raw = stream.raw if isinstance(stream, _Stream) else stream
    raw.write(visible(text, keep="\n") if raw.isatty() else text)
    raw.flush()


class _Stream:
    """A text stream that shows what would act on a terminal; `raw` is the stream itself, for rich's own codes."""

    def __init__(self, raw: TextIO) -> None:
        self.raw = raw

    def __getattr__(self, name: str) -> Any:
        return getattr(self.raw, name)

    def write(self, text: str) -> int:
        moves = _BAR_MOVES.match(text) if self.raw.isatty() else None
        begin = moves.end() if moves else 0
        self.raw.write(text[:begin] + visible(text[begin:], keep="\n"))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)


class _Console(Console):
    """Rich's console: its colours and movements stay, the text that it is given is made visible."""

    @property
    def file(self) -> IO[str]:
        """The stream that it writes to."""
        stream = super().file
        return stream.raw if isinstance(stream, _Stream) else stream

    @file.setter
    def file(self, new_file: IO[str]) -> None:
        self._file = new_file

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Render, with escapes in the text."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=visible(segment.text, keep="\n"))


def console(*, err: bool = False) -> Console:
    """A console that takes no name for markup, an emoji or a number to colour."""
    return _Console(stderr=err, markup=False, emoji=False, highlight=False)


class Bar(Progress):
    """A progress bar on standard error, if that is a terminal; what is printed meanwhile stands above it."""

    def __init__(self, *columns: ProgressColumn) -> None:
        where = console(err=True)
        for column in columns:
            if isinstance(column, TextColumn):
                column.markup = False
        super().__init__(*columns, console=where, transient=True, disable=not where.is_terminal)

    def start(self) -> None:
        """Show the bar."""
        super().start()
        # Rich has put streams of its own in place, which obey the codes in what they are given.
        _cover(FileProxy)

    def say(self, line: str) -> None:
        """Print a line above the bar."""
        self.console.print(Text(visible(line)), soft_wrap=True)


@contextmanager
def covered() -> Iterator[None]:
    """While open, everything that this process prints is made visible, whoever prints it.

    What nobody expected leaves it open: Python's own report of the error follows.
    """
    _cover()
    # Typer's help and messages, and whatever else makes a console.
    rich.console.Console = _Console  # type: ignore[misc]
    expected = True
    try:
        yield
    except Exception as error:
        expected = isinstance(error, HearError | OSError)
        raise
    finally:
        if expected:
            _uncover()


def _uncover() -> None:
    rich.console.Console = Console  # type: ignore[misc]
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if isinstance(stream, _Stream):  # else Typer has put another there, which must stay
            setattr(sys, name, stream.raw)


def _cover(kind: type[Any] = object) -> None:
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is not None and isinstance(stream, kind) and not isinstance(stream, _Stream):
            setattr(sys, name, _Stream(stream))
