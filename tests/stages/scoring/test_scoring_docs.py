"""`docs/scoring.md`: its Python runs, and its commands' options exist."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import typer.main

from pipeline.cli import serve
from pipeline.cli.head_predict import predict

PAGE = Path(__file__).parents[3] / "docs" / "scoring.md"


def test_the_three_lines_run(
    tmp_path: Path,
    head_folders: Path,
    song_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    code_in: Callable[[str, str], list[str]],
) -> None:
    (code,) = code_in("scoring.md", "python")
    assert len(code.splitlines()) == 3
    shutil.copytree(head_folders / "0", tmp_path / "models" / "track2")
    shutil.copy(song_folder / "söng 0.wav", tmp_path / "song.mp3")
    monkeypatch.chdir(tmp_path)
    exec(compile(code, str(PAGE), "exec"), {})
    assert "'Musicality': " in capsys.readouterr().out


def test_options_that_are_named_exist() -> None:
    commands = [typer.main.get_command(serve.app)]
    app = typer.Typer()
    app.command()(predict)
    commands.append(typer.main.get_command(app))
    known = {option for command in commands for parameter in command.params for option in parameter.opts}
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", PAGE.read_text(encoding="utf-8")))
    assert named - known == {"--data-binary"}
