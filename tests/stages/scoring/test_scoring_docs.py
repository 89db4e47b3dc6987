"""`docs/how-to/score.md`: its Python runs."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest


def test_the_three_lines_run(
    tmp_path: Path,
    head_folders: Path,
    song_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    code_in: Callable[[str, str], list[str]],
) -> None:
    (code,) = code_in("how-to/score.md", "python")
    assert len(code.splitlines()) == 3
    shutil.copytree(head_folders / "0", tmp_path / "models" / "track2")
    shutil.copy(song_folder / "söng 0.wav", tmp_path / "song.mp3")
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "score.md", "exec"), {})
    assert "'Musicality': " in capsys.readouterr().out
