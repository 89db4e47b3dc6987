"""Printed names never control the terminal, for any library; programs get JSON and CSV that reads back."""

import ast
import io
import json
import logging
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.panel import Panel
from rich.table import Table

from pipeline.show import output
from pipeline.show.bars import Bar
from pipeline.show.tables import describe_text
from stages.evaluate.ablation_table import ablation_markdown
from stages.head.training.seeds import SeedsReport
from stages.metrics.agreement import METRICS
from store.files.visible import to_json, visible

ROOT = Path(__file__).resolve().parents[3]
TEXT = st.text(st.characters(codec=None) | st.sampled_from("\x1b\x9b\x7f\r\n\t\u202e\u2028\u200d\ud800\U000e0041"))


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Callable[[], Terminal]:
    """A function that makes both standard streams terminals; until a test begins, pytest replaces them."""

    def make() -> Terminal:
        stream = Terminal()
        monkeypatch.setattr(sys, "stdout", stream)
        monkeypatch.setattr(sys, "stderr", stream)
        monkeypatch.setenv("TERM", "xterm-256color")
        monkeypatch.setenv("COLUMNS", "100")
        return stream

    return make


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("söng 東京 🎵 naïve\u3000a\u00a0b", "söng 東京 🎵 naïve\u3000a\u00a0b"),
        ("می\u200cخواهم 👩\u200d🎤", "می\u200cخواهم 👩\u200d🎤"),
        ("\x1b[31m\x07\x9b\x7f\0", r"\x1b[31m\x07\x9b\x7f\x00"),
        ("a\tb\r\nc", r"a\tb\r\nc"),
        (
            "\u202egnp.exe\u2066\u200b\u200e\u2028\u2029\ufeff\xad",
            r"\u202egnp.exe\u2066\u200b\u200e\u2028\u2029\ufeff\xad",
        ),
        ("\udcff\U000e0041", r"\udcff\U000e0041"),
    ],
)
def test_unprintable_characters_are_shown(text: str, shown: str) -> None:
    assert visible(text) == shown


@given(TEXT)
def test_no_control_character_is_left(text: str) -> None:
    shown = visible(text)
    assert visible(shown) == shown
    shown.encode()
    assert not set(shown) & {
        *map(chr, range(32)),
        *map(chr, range(127, 160)),
        *"\u202a\u202e\u2066\u2069\u2028\u2029\u200b",
    }


@given(st.recursive(TEXT | st.integers() | st.none(), lambda some: st.lists(some) | st.dictionaries(TEXT, some)))
def test_json_reads_back_and_is_safe_to_display(value: object) -> None:
    for indent in (None, 2):
        text = to_json(value, indent=indent)
        assert visible(text, keep="\n") == text
        assert json.loads(text) == value
    assert "\n" not in to_json(value)


def test_a_line_stays_one_line_and_text_keeps_its_lines(terminal: Callable[[], Terminal]) -> None:
    screen = terminal()
    output.say("no song \x1b[2J\nhear-head: all is well")
    output.say_text("a\x9b\nb")
    output.say_json({"ä\x9b": "\u202e"})
    output.write_csv("song_id\n\x1b[2J\n")
    lines = screen.getvalue().splitlines()
    assert lines[0] == r"no song \x1b[2J\nhear-head: all is well"
    assert lines[1:] == [r"a\x9b", "b", r'{"ä\u009b": "\u202e"}', "song_id", r"\x1b[2J"]


def test_a_name_adds_no_line_to_a_table() -> None:
    """Tables keep their newlines when they are printed, so names must not add any."""
    evil = "x\n(all) all 99 songs \x1b[2J"
    total = {"records": 1, "hours": 0.5, "bytes": 9}
    tables = []
    for name in ("x", evil):
        figures = {
            **{"root": name, "format": "f", "version": 1, "songs": 1, "spec": {name: [name, name], "b": {name: name}}},
            **{"encoders_from": {name: {"kind": name}}, "views": {"0": total}, **total},
        }
        values = {name: dict.fromkeys(METRICS, 0.5), "mean": dict.fromkeys(METRICS, 0.5)}
        tables.append(
            [
                describe_text(figures),
                SeedsReport(seeds=(0, 1), mean=values, std=values, ensemble=values).table,
                ablation_markdown([], track=1, notes=[name, name]),
            ]
        )
    for plain, table in zip(*tables, strict=True):
        assert table.count("\n") == plain.count("\n")
        assert r"x\n(all) all 99 songs \x1b[2J" in table


def test_a_program_gets_unchanged_csv(capsys: pytest.CaptureFixture[str]) -> None:
    output.write_csv('song_id\n"\x1b[2J\r"\n')
    assert capsys.readouterr().out == 'song_id\n"\x1b[2J\r"\n'


def test_output_of_other_libraries_is_escaped(terminal: Callable[[], Terminal]) -> None:
    screen = terminal()
    evil = "\x1b[2J\x9b\u202e"
    with output.covered():
        from rich.console import Console  # as Typer and others find it

        handler = logging.StreamHandler(sys.stderr)
        handler.emit(logging.LogRecord("x", logging.ERROR, "x.py", 1, f"log {evil}", (), None))
        sys.stdout.write(f"write {evil}\n")
        sys.stdout.writelines([f"lines {evil}\n"])
        Console().print(Panel(f"panel {evil}"))
        table = Table("x[/bold]\x1b[2J", title=f"title {evil}")
        table.add_row(f"cell {evil}")
        output.console().print(table)
        sys.stderr.write(f"\rbar {evil}")
        sys.stderr.write("\x1b[A")
    text = screen.getvalue()
    for what in ("log", "write", "lines", "panel", "title", "bar"):
        assert rf"{what} \x1b[2J\x9b\u202e" in text, what
    assert "x[/bold]" in text
    assert "cell" in text
    assert "\x1b[2J" not in text
    assert "\x9b" not in text
    assert "\r" in text
    assert text.endswith("\x1b[A")
    assert sys.stdout is sys.stderr is screen


def test_output_during_a_progress_bar_is_escaped(terminal: Callable[[], Terminal]) -> None:
    screen = terminal()
    with output.covered(), Bar("[red]x\x1b[2J", 2) as bar:
        sys.stderr.write("a library \x1b[2J \x1b]8;;http://evil\x1b\\here\x1b]8;;\x1b\\\n")
        output.note("ours \x1b[2J")
        bar.say("above \x1b[2J\nline")
    text = screen.getvalue()
    for line in (r"a library \x1b[2J \x1b]8;;http://evil\x1b\here", r"ours \x1b[2J", r"above \x1b[2J\nline"):
        assert line in text
    assert "\x1b[2J" not in text
    assert "[red]x" in text
    assert "\x1b]8" not in text
    assert sys.stderr is screen


def test_all_output_goes_through_one_module() -> None:
    """typer.echo, print, streams of sys and rich's consoles are used in pipeline/show/output.py alone."""
    found = []
    for file in sorted(path for layer in ("pipeline", "stages", "store") for path in (ROOT / layer).rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            name = ast.unparse(node) if isinstance(node, ast.Attribute | ast.Name) else ""
            imported = [f"{node.module}.{one.name}" for one in node.names] if isinstance(node, ast.ImportFrom) else []
            printing = {
                "typer.echo",
                "typer.secho",
                "print",
                "sys.stderr",
                "rich.console.Console",
                "rich.progress.Progress",
            }
            found += [(str(file.relative_to(ROOT)), each) for each in (name, *imported) if each in printing]
            if name.startswith("sys.stdout") and name != "sys.stdout.isatty":
                found.append((str(file.relative_to(ROOT)), name))
    elsewhere = {(file, name) for file, name in found if file != "pipeline/show/output.py"}
    assert elsewhere == {
        # It checks whether standard output can be written.
        ("pipeline/cli/entry.py", "sys.stdout"),
        # They print a table on a terminal, and JSON elsewhere.
        ("pipeline/cli/head_commands/best_of.py", "sys.stdout"),
        ("pipeline/cli/head_commands/predict.py", "sys.stdout"),
        # Its bars write to the console of output.py.
        ("pipeline/show/bars.py", "rich.progress.Progress"),
    }


def test_one_module_reads_and_writes_csv() -> None:
    users = [
        str(file.relative_to(ROOT))
        for layer in ("pipeline", "stages", "store")
        for file in sorted((ROOT / layer).rglob("*.py"))
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Import) and any(one.name == "csv" for one in node.names)
    ]
    assert users == ["stages/common/csv_text.py"]
