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
