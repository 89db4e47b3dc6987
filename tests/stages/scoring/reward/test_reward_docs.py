"""`docs/how-to/reward.md` and the program of `adapters.md`: their Python and their commands run."""

import json
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from pipeline.cli.head import app
from stages.scoring.rows import SongScore

CodeIn = Callable[[str, str], list[str]]


@pytest.fixture
def takes(tmp_path: Path, head_folders: Path, song_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The working directory has the heads `models/track2`, and `songs` with two takes of `one` and one of `two`."""
    shutil.copytree(head_folders, tmp_path / "models" / "track2")
    for number, name in enumerate(("one/take 1.wav", "one/take 2.wav", "two/take 1.wav")):
        (tmp_path / "songs" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(song_folder / f"söng {number}.wav", tmp_path / "songs" / name)
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("takes")
def test_the_pages_run(code_in: CodeIn, capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, Any] = {}
    for block in code_in("how-to/reward.md", "python"):
        exec(compile(block, "reward.md", "exec"), names)
    first, second, summary = capsys.readouterr().out.splitlines()
    assert first.startswith("one songs/one/take ")
    assert second.startswith("two songs/two/take 1.wav ")
    assert second.endswith(" None")
    assert "'flagged_silence': 0.0" in summary
    assert abs(names["advantages"].mean()) < 1e-6
    # The program of the other page finds the scorer loaded.
    lines = [{"path": "songs/one/take 1.wav"}, {"path": "gone.wav"}, {"path": "songs/one/take 1.wav"}]
    Path("input.jsonl").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    (code,) = [block for block in code_in("how-to/adapters.md", "python") if "audiobox_rows" in block]
    load = 'scorer = hear.Scorer.load("models/track2")\n'
    assert load in code
    exec(compile(code.replace(load, ""), "adapters.md", "exec"), names)
    whole, failed, again = map(json.loads, Path("output.jsonl").read_text(encoding="utf-8").splitlines())
    assert whole == again
    assert list(failed) == ["error"]

    _commands_run(code_in, list(names["scorer"].score_batch(sorted(Path("songs").rglob("*.wav")))))


def _commands_run(code_in: CodeIn, rows: list[SongScore]) -> None:
    """The commands of the page, without `hear predict`: its file is made from rows."""
    lines = [line for block in code_in("how-to/reward.md", "sh") for line in block.splitlines() if "|" not in line]
    songs, predict, scores = (shlex.split(line) for line in lines)
    scored = CliRunner().invoke(app, [*songs[1:], "--precision", "fp32"], catch_exceptions=False)
    assert predict[:2] == ["hear", "predict"]
    Path(predict[-1]).write_text("\n".join(json.dumps(row.to_json()) for row in rows), encoding="utf-8")
    read = CliRunner().invoke(app, scores[1:], catch_exceptions=False)
    assert (scored.exit_code, read.exit_code) == (0, 0)
    first, second = map(json.loads, scored.stdout.splitlines())
    assert [(row["prompt"], row["candidates"]) for row in (first, second)] == [("one", 2), ("two", 1)]
    assert first["is_clear"] is (first["margin"] > first["disagreement"])
    assert "2 of 2 prompts do not have 4 candidates: one (2), two (1)" in scored.stderr
    best, _ = map(json.loads, read.stdout.splitlines())
    weighted = (2 * best["scores"]["Musicality"] + best["scores"]["Clarity"]) / 3
    assert (best["candidates"], best["value"]) == (2, pytest.approx(weighted, abs=1e-5))
    assert Path("best.csv").read_text(encoding="utf-8").startswith("prompt,song_id,path,value,margin,disagreement,")
