"""Help pages: groups in one order, one working example per command; and completion in a shell."""

import ast
import importlib
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main
from typer.testing import CliRunner

from pipeline.cli.pages import PANELS

ROOT = Path(__file__).resolve().parents[3]


def pages() -> Iterator[tuple[str, ...]]:
    """Every command as (name, subcommand), or (name,) without subcommands."""
    for name in ("data", "extract", "head", "store", "probe", "serve"):
        found = getattr(command_of(name), "commands", {})
        yield from ((name, sub) for sub in found)
        yield (name,)


def command_of(name: str, *sub: str) -> Any:
    found = typer.main.get_command(importlib.import_module(f"pipeline.cli.{name}").app)
    return found.commands[sub[0]] if sub else found


PAGES = list(pages())
COMMANDS = [page for page in PAGES if not hasattr(command_of(*page), "commands")]


def shown(page: tuple[str, ...], columns: int, monkeypatch: pytest.MonkeyPatch, option: str = "--help") -> str:
    monkeypatch.setenv("COLUMNS", str(columns))
    app = importlib.import_module(f"pipeline.cli.{page[0]}").app
    result = CliRunner().invoke(app, [*page[1:], option], prog_name=f"hear-{page[0]}")
    assert result.exit_code == 0
    return result.output


@pytest.mark.parametrize("page", PAGES, ids="-".join)
def test_a_page_has_groups_in_order_and_fits_the_terminal(
    page: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    text = shown(page, 80, monkeypatch)
    titles = [line.split("─ ")[1].split(" ─")[0] for line in text.splitlines() if line.startswith("╭─ ")]
    assert set(titles) - {"Arguments", "Commands"} <= set(PANELS)
    groups = [PANELS.index(title) for title in titles if title in PANELS]
    assert groups == sorted(groups)
    assert max(map(len, text.splitlines())) <= 80
    assert "<bool>" not in text
    assert "[default: (" not in text
    assert shown(page, 80, monkeypatch, "-h") == text


@pytest.mark.parametrize("page", PAGES, ids="-".join)
def test_every_option_is_described(page: tuple[str, ...]) -> None:
    command = command_of(*page)
    assert command.help
    for param in command.get_params(typer.Context(command)):
        assert param.help, param.name


@pytest.mark.parametrize("page", COMMANDS, ids="-".join)
def test_the_example_of_a_command_is_right_usage(
    page: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
    example = command_of(*page).epilog.removeprefix("Example:")
    assert max(map(len, example.splitlines())) <= 78
    words = shlex.split(example.replace("\\\n", ""))
    assert words[: len(page)] == [f"hear-{page[0]}", *page[1:]]
    # Unknown or missing options and wrong values are errors here.
    command_of(*page).make_context(page[-1], words[len(page) :])
    lines = [line.strip() for line in shown(page, 80, monkeypatch).splitlines()]
    below = lines[lines.index("Example:") + 1 :]
    assert below[: len(example.splitlines()) - 1] == [line.strip() for line in example.splitlines()[1:]]


def test_a_commands_function_has_at_most_40_lines_below_its_parameters() -> None:
    long = {}
    for file in sorted((ROOT / "pipeline/cli").rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef) and (lines := node.end_lineno - node.body[0].lineno + 1) > 40:
                long[f"{file.name}: {node.name}"] = lines
    assert long == {}


@pytest.mark.parametrize("name", ["data", "extract", "head", "store", "probe", "serve"])
def test_without_arguments_a_command_shows_its_help(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    app = importlib.import_module(f"pipeline.cli.{name}").app
    result = CliRunner().invoke(app, [], prog_name=f"hear-{name}")
    assert result.exit_code == 2
    assert f"Usage: hear-{name}" in result.output
    assert "Show this message and exit." in result.output


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("hear-head tr", ["train"]),
        ("hear-head train --schedule ", ["constant", "plateau"]),
        ("hear-extract --lay", ["--layers", "--layer"]),
        ("hear pre", ["predict"]),
        ("hear store inf", ["info"]),
    ],
)
def test_bash_completes_commands_options_and_values(words: str, offered: list[str]) -> None:
    """As the script of `--show-completion` calls the console script."""
    program = words.split()[0]
    name = program.removeprefix("hear-")
    asked = {
        "COMP_WORDS": words,
        "COMP_CWORD": str(words.count(" ")),
        f"_{program.replace('-', '_').upper()}_COMPLETE": "complete_bash",
    }
    code = f"from pipeline.cli.entry import run; run({name!r})"
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **asked}, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == offered


def test_the_script_for_bash_is_printed_for_the_console_script(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("typer.completion._get_shell_name", lambda: "bash")
    app = importlib.import_module("pipeline.cli.head").app
    script = CliRunner().invoke(app, ["--show-completion"], prog_name="hear-head").output
    assert "_HEAR_HEAD_COMPLETE=complete_bash" in script
    assert script.rstrip().endswith("hear-head")


def test_commands_work_without_docstrings() -> None:
    """As under `PYTHONOPTIMIZE=2`: the options' help comes from docstrings, and is then empty."""
    script = "import typer.main, pipeline.cli.head as head; typer.main.get_command(head.app)(['train', '--help'])"
    # -B: no bytecode without docstrings is left beside the code.
    done = subprocess.run([sys.executable, "-OO", "-B", "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "--learning-rate" in done.stdout
