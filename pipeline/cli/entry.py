"""The console scripts: each runs one Typer app; our own errors become one line and exit code 1."""

import importlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any, TextIO, cast

from pipeline.interrupts import watch_interrupts
from pipeline.show.output import covered, note
from store.errors import HearError

# The exit code that shells expect of a program ended by SIGINT.
INTERRUPTED = 130
# Python's message when the system allows no more threads.
NO_THREADS = "can't start new thread"


def program_name(command: str) -> str:
    """The console script of `pipeline.cli.<command>`: `hear`, or `hear-<command>`."""
    return command if command == "hear" else f"hear-{command}"


def note_named(line: str) -> None:
    """Print a line to standard error that begins with the name of the console script, as it was typed."""
    note(f"{Path(sys.argv[0]).stem}: {line}")


def run(command: str) -> None:
    """Run the Typer app of `pipeline.cli.<command>`; only that command's modules are imported.

    Raises
    ------
    SystemExit
        With 0 on success, 1 on an error of ours or if standard output cannot be written, 2 on wrong usage, 130 if
        interrupted.
    """
    program = program_name(command)
    if command != "serve" and sys.argv[1:2] != ["serve"]:  # its server handles signals itself, and counts them
        watch_interrupts(program)
    try:
        # Shells read completions, which may contain tabs, unchanged.
        completing = f"_{program.replace('-', '_').upper()}_COMPLETE" in os.environ
        with _watched_output(), nullcontext() if completing else covered():
            app = importlib.import_module(f"pipeline.cli.{command}").app
            app(prog_name=program)
    except HearError as error:
        raise SystemExit(_failed(program, str(error))) from None
    except OSError as error:
        # A disk may fail at any call. Code with more information has raised an error of ours instead.
        where = f"{error.filename}: " if error.filename is not None else ""
        reason = error.strerror or str(error) or type(error).__name__
        raise SystemExit(_failed(program, f"{where}{reason}; fix the cause and run again")) from None
    except MemoryError:
        raise SystemExit(_failed(program, "memory ran out; use a machine with more, or fewer processes")) from None
    except RuntimeError as error:
        if str(error) != NO_THREADS:
            raise
        raise SystemExit(_failed(program, "the system allows no more threads; see `ulimit -u`")) from None
    except KeyboardInterrupt:  # before the app has started
        raise SystemExit(_interrupted(program)) from None
    except SystemExit as end:
        if end.code == INTERRUPTED:  # Typer's exit code for Ctrl-C, without a message
            _interrupted(program)
        raise


def _failed(program: str, message: str) -> int:
    """Print an error as one line."""
    line = " ".join(message.split("\n"))
    note(f"{program}: {line}")
    return 1


class _Output:
    """Standard output that remembers why it could not be written, so that no other OSError is taken for this one."""

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
        except BrokenPipeError:  # Typer ends the program without a message, as `| head` expects
            raise
        except OSError as error:
            self.failure = error
            raise


@contextmanager
def _watched_output() -> Iterator[None]:
    """Turn a failure to write standard output into an error of ours, however the command handled it."""
    stream = cast(TextIO | None, sys.stdout)
    if stream is None:  # closed by the caller
        yield
        return
    output = _Output(stream)
    sys.stdout = cast(TextIO, output)
    try:
        yield
    except (OSError, HearError, SystemExit):
        if output.failure is None:
            raise
        # Otherwise Python would write the rest of the buffer at exit, and print an error.
        with suppress(OSError):
            stream.close()
        reason = output.failure.strerror or output.failure
        raise HearError(f"standard output cannot be written: {reason}; send it elsewhere and run again") from None
    finally:
        if cast(object, sys.stdout) is output:  # else Typer has replaced it, and it must stay
            sys.stdout = stream


def _interrupted(program: str) -> int:
    note(f"{program}: interrupted")
    return INTERRUPTED
