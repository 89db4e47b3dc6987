"""Unexpected errors of a machine also end a command in one line."""

import errno
import os
from types import SimpleNamespace

import pytest

from pipeline.cli import entry


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (
            OSError(errno.EIO, os.strerror(errno.EIO), "/data/a.csv"),
            "/data/a.csv: Input/output error; fix the cause and run again",
        ),
        (OSError(errno.EMFILE, os.strerror(errno.EMFILE)), "Too many open files; fix the cause and run again"),
        (TimeoutError(), "TimeoutError; fix the cause and run again"),
        (MemoryError(), "memory ran out; use a machine with more, or fewer processes"),
        (RuntimeError("can't start new thread"), "the system allows no more threads; see `ulimit -u`"),
    ],
)
def test_a_machine_that_fails(
    error: Exception, line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def app(prog_name: str) -> None:
        raise error

    monkeypatch.setattr("importlib.import_module", lambda name: SimpleNamespace(app=app))
    with pytest.raises(SystemExit, match=r"^1$"):
        entry.run("store")
    assert capsys.readouterr().err == f"hear-store: {line}\n"


def test_an_error_in_the_program_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def app(prog_name: str) -> None:
        raise RuntimeError("a mistake")

    monkeypatch.setattr("importlib.import_module", lambda name: SimpleNamespace(app=app))
    with pytest.raises(RuntimeError, match=r"^a mistake$"):
        entry.run("store")


@pytest.mark.parametrize(
    ("command", "words", "watched"),
    [
        ("hear", ["hear", "store", "info"], ["hear"]),
        ("hear", ["hear", "serve"], []),
        ("store", ["hear-store", "info"], ["hear-store"]),
        ("serve", ["hear-serve"], []),
    ],
)
def test_errors_name_the_program_and_a_server_handles_signals_itself(
    command: str,
    words: list[str],
    watched: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def app(prog_name: str) -> None:
        raise KeyboardInterrupt

    told: list[str] = []
    monkeypatch.setattr(entry, "watch_interrupts", told.append)
    monkeypatch.setattr("sys.argv", words)
    monkeypatch.setattr("importlib.import_module", lambda name: SimpleNamespace(app=app))
    with pytest.raises(SystemExit, match=r"^130$"):
        entry.run(command)
    assert (capsys.readouterr().err, told) == (f"{words[0]}: interrupted\n", watched)
