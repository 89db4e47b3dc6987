"""All output of the commands goes through here, so that no name can control the terminal.

Names of files, songs, tensors and columns, and messages of other libraries, cannot be trusted. Unprintable
characters are written as escapes; see `store.files.visible`. Only colours and cursor movements
of rich, and of the progress bars of the hub's library, pass.
"""

import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import IO, Any, TextIO, cast

import rich.console
import typer
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from store.errors import HearError
from store.files.visible import to_json, visible

# Movements of the hub library's bars: back to the start of the line, and up to another bar's line.
_BAR_MOVES = re.compile(r"\r(?=[^\r]*\Z)|(?:\x1b\[A)+\Z")


def say(line: str, *, err: bool = False) -> None:
    """Print one line; a newline in it is shown as `\\n`."""
    typer.echo(visible(line), err=err)


def note(line: str) -> None:
    """Print one line to standard error."""
    say(line, err=True)


def say_text(text: str) -> None:
    """Print several lines; values in them were made visible before, so no newline comes from a name."""
    typer.echo(visible(text, keep="\n"))


def say_json(value: Any, *, indent: int | None = None) -> None:
    """Print JSON, on one line if there is no `indent`."""
    typer.echo(to_json(value, indent=indent))


def write_csv(text: str) -> None:
    """Print CSV: unchanged for a program, with unprintable characters escaped on a terminal."""
    stream = cast(TextIO | None, sys.stdout)
    if stream is None:  # closed by the caller
        return
    # Not Typer's echo: it removes colour codes if a program reads the output.
    raw = stream.raw if isinstance(stream, _Stream) else stream
    raw.write(visible(text, keep="\n") if raw.isatty() else text)
    raw.flush()


class _Stream:
    """A text stream that escapes unprintable characters; `raw` is the stream itself, for rich's own codes."""

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
    """Rich's console: keeps its own colours and movements, and makes the given text visible."""

    @property
    def file(self) -> IO[str]:
        """The stream to write to."""
        stream = super().file
        return stream.raw if isinstance(stream, _Stream) else stream

    @file.setter
    def file(self, new_file: IO[str]) -> None:
        self._file = new_file

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Render, with unprintable characters escaped."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=visible(segment.text, keep="\n"))


def console(*, err: bool = False) -> Console:
    """A console that does not treat names as markup, emoji or numbers."""
    return _Console(stderr=err, markup=False, emoji=False, highlight=False)


@contextmanager
def covered() -> Iterator[None]:
    """While open, everything that this process prints is made visible, by any library.

    After an unexpected error it stays open, because Python prints its traceback afterwards.
    """
    cover()
    # For Typer's help and messages, and for any library that makes a console.
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
        if isinstance(stream, _Stream):  # else Typer has replaced it, and it must stay
            setattr(sys, name, stream.raw)


def cover(kind: type[Any] = object) -> None:
    """Cover the standard streams, if they are of this kind."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is not None and isinstance(stream, kind) and not isinstance(stream, _Stream):
            setattr(sys, name, _Stream(stream))
