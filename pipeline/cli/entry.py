"""The console scripts: each runs one Typer app, and turns our own errors into one line and exit code 1."""

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO, cast

from pipeline.interrupts import watch_interrupts
from pipeline.show.output import covered, note
from store.errors import HearError

# What shells expect of a program that SIGINT ended.
INTERRUPTED = 130
# What Python says of a limit of the system.
NO_THREADS = "can't start new thread"


def run(command: str) -> None:
    """Run the Typer app of `pipeline.cli.<command>`; only that command's modules are imported.

    Raises
    ------
    SystemExit
        With 0 when done, 1 on an error of ours or when standard output cannot be written, 2 on wrong usage, 130 when
        interrupted.
    """
    if command != "serve":  # its server handles signals itself, and counts them
        watch_interrupts(f"hear-{command}")
    try:
        with _watched_output(), covered():
            app = importlib.import_module(f"pipeline.cli.{command}").app
            app(prog_name=f"hear-{command}")
    except HearError as error:
        raise SystemExit(_failed(command, str(error))) from None
    except OSError as error:
        # A disk may fail at any call. What can say more than the system does has said it before this.
        where = f"{error.filename}: " if error.filename is not None else ""
        reason = error.strerror or str(error) or type(error).__name__
        raise SystemExit(_failed(command, f"{where}{reason}; mend the cause and run again")) from None
    except MemoryError:
        raise SystemExit(_failed(command, "memory ran out; use a machine with more, or fewer processes")) from None
    except RuntimeError as error:
        if str(error) != NO_THREADS:
            raise
        raise SystemExit(_failed(command, "the system allows no more threads; see `ulimit -u`")) from None
    except KeyboardInterrupt:  # before the app has begun
        raise SystemExit(_interrupted(command)) from None
    except SystemExit as end:
        if end.code == INTERRUPTED:  # what Typer makes of Ctrl-C, without a word
            _interrupted(command)
        raise


def _failed(command: str, message: str) -> int:
    """Tell an error as one line."""
    line = " ".join(message.split("\n"))
    note(f"hear-{command}: {line}")
    return 1


class _Output:
    """Standard output that remembers why it could not be written: the same error elsewhere is not for us to catch."""

    failure: OSError | None = None

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        with self._remembering():
            return self._stream.write(text)

    def flush(self) -> None:
        with self._remembering():
            self._stream.flush()

    @contextmanager
    def _remembering(self) -> Iterator[None]:
        try:
            yield
        except BrokenPipeError:  # Typer ends the program without a word, as `| head` expects
            raise
        except OSError as error:
            self.failure = error
            raise


@contextmanager
def _watched_output() -> Iterator[None]:
    """Turn a failure to write standard output into an error of ours, whatever the command made of it."""
    stream = cast(TextIO | None, sys.stdout)
    if stream is None:  # closed by the caller: nothing is written
        yield
        return
    output = _Output(stream)
    sys.stdout = cast(TextIO, output)
    try:
        yield
    except (OSError, HearError, SystemExit):
        if output.failure is None:
            raise
        # What is left in its buffer would be tried once more, and complained of, when Python ends.
        with suppress(OSError):
            stream.close()
        reason = output.failure.strerror or output.failure
        raise HearError(f"standard output cannot be written: {reason}; send it elsewhere and run again") from None
    finally:
        if cast(object, sys.stdout) is output:  # else Typer has put another there, which must stay
            sys.stdout = stream


def _interrupted(command: str) -> int:
    note(f"hear-{command}: interrupted")
    return INTERRUPTED


def data() -> None:
    """`hear-data`."""
    run("data")


def extract() -> None:
    """`hear-extract`."""
    run("extract")


def head() -> None:
    """`hear-head`."""
    run("head")


def store() -> None:
    """`hear-store`."""
    run("store")


def probe() -> None:
    """`hear-probe`."""
    run("probe")


def serve() -> None:
    """`hear-serve`."""
    run("serve")
