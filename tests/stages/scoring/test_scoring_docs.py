"""`docs/how-to/score.md`: its Python runs."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest


def test_the_examples_run(
    tmp_path: Path,
    head_folders: Path,
    song_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    code_in: Callable[[str, str], list[str]],
) -> None:
    blocks = code_in("how-to/score.md", "python")
    assert len(blocks[0].splitlines()) == 3
    shutil.copytree(head_folders / "0", tmp_path / "models" / "track2")
    shutil.copy(song_folder / "söng 0.wav", tmp_path / "song.mp3")
    monkeypatch.chdir(tmp_path)
    exec(compile("\n".join(blocks), "score.md", "exec"), {})
    shown = capsys.readouterr().out
    assert shown.count("'Musicality': ") == 2
    assert "clip-1 clip-" in shown
