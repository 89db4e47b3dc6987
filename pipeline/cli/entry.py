"""The console scripts: each runs one Typer app, and turns our own errors into one line and exit code 1."""

import importlib
import sys

from store.errors import HearError

# What shells expect of a program that SIGINT ended.
INTERRUPTED = 130


def run(command: str) -> None:
    """Run the Typer app of `pipeline.cli.<command>`; the app is imported late because it reads params.yaml.

    Raises
    ------
    SystemExit
        With 0 when done, 1 on an error of ours, 2 on wrong usage, 130 when interrupted.
    """
    try:
        app = importlib.import_module(f"pipeline.cli.{command}").app
        app(prog_name=f"hear-{command}")
    except HearError as error:
        line = " ".join(str(error).split("\n"))
        sys.stderr.write(f"hear-{command}: {line}\n")
        raise SystemExit(1) from None
    except KeyboardInterrupt:  # before the app has begun
        raise SystemExit(_interrupted(command)) from None
    except SystemExit as end:
        if end.code == INTERRUPTED:  # what Typer makes of Ctrl-C, without a word
            _interrupted(command)
        raise


def _interrupted(command: str) -> int:
    sys.stderr.write(f"hear-{command}: interrupted\n")
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
