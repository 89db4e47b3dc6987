"""`hear-head best-of`: prompts, output and exit codes, with scores that were made before."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import typer
from typer.testing import CliRunner, Result

from pipeline.cli.head_commands.best_of import best_of
from pipeline.prediction import Outputs, Request
from pipeline.show.choices import print_choices
from stages.scoring.files import write_choices_csv
from stages.scoring.inputs import expand_inputs, join_manifest
from stages.scoring.reward.best_of import best_of as choices_of
from stages.scoring.rows import SongScore
from stages.songs import Song, write_manifest

app = typer.Typer()
app.command()(best_of)
EVIL = "\x1b[2J=1+1"


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """A function that runs the command in an empty folder, and checks its exit code."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str, code: int = 0, **about: Any) -> Result:
        result = CliRunner().invoke(app, arguments, **about)
        assert result.exit_code == code, (result.output, result.exception)
        return result

    return run


@pytest.fixture
def scored(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Songs score the number in their name, 1 to 5, and fail without one; the ids of the scored songs."""
    ids = []

    def predict(request: Request, outputs: Outputs, *, on_row: Callable[[SongScore], None]) -> SimpleNamespace:
        assert outputs == Outputs()
        rows = []
        for song in join_manifest(expand_inputs(request.inputs, lines=request.lines), None):
            ids.append(song.song_id)
            number = [int(letter) for letter in song.song_id if letter.isdecimal()]
            scores = {"Musicality": float(number[-1]), "Clarity": 3.0} if number else {}
            rows.append(
                SongScore(song_id=song.song_id, path=song.shown_path, scores=scores, error="" if number else "no")
            )
            on_row(rows[-1])
        return SimpleNamespace(rows=rows)

    monkeypatch.setattr("pipeline.prediction.predict", predict)
    return ids


def rows(result: Result) -> dict[str, dict[str, Any]]:
    return {row["prompt"]: row for row in map(json.loads, result.stdout.splitlines())}


def touch(*names: str) -> None:
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).touch()


SONGS = ("songs/p/1.wav", "songs/p/2.wav", "songs/q/x_3.wav", "songs/q/y_4.wav")


def test_prompts_of_folders_and_patterns(call: Callable[..., Result], scored: list[str]) -> None:
    touch(*SONGS, "songs/q/bad.wav")
    result = call("2", "songs", "--checkpoint", "h", code=1)
    found = rows(result)
    assert {prompt: row["song_id"] for prompt, row in found.items()} == {"p": "p/2", "q": "q/y_4"}
    assert (found["p"]["path"], found["p"]["value"], found["p"]["margin"]) == ("songs/p/2.wav", 2.5, 0.5)
    assert (found["q"]["runner_up"], found["q"]["candidates"], found["q"]["failed"]) == ("q/x_3", 3, 1)
    assert result.stderr.splitlines() == [
        "1 of 2 prompts does not have 2 candidates: q (3)",
        "2 of 2 prompts have a best song; 5 candidates, 1 failed",
    ]
    by_pattern = call("2", "-", "--by", "{prompt}_*", "--checkpoint", "h", input="\n".join(SONGS[2:]))
    assert list(rows(by_pattern)) == ["x", "y"]
    flat = call("3", *SONGS[:2], "--checkpoint", "h")
    assert (
        "all songs are in one folder, so they are 2 candidates of one prompt, expected 3; if their ids" in flat.stderr
    )


def test_prompts_of_a_manifest_and_of_json_lines(call: Callable[..., Result], scored: list[str]) -> None:
    touch(*SONGS)
    lines = [{"audio_path": SONGS[0], "prompt": "calm, é"}, {"path": SONGS[2], "prompt": "calm, é"}]
    lines += [{"path": SONGS[3], "id": "mine 4", "prompt": 7}]
    Path("list.jsonl").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    found = rows(call("2", "list.jsonl", "--by", "prompt", "--checkpoint", "h"))
    assert {prompt: row["song_id"] for prompt, row in found.items()} == {"calm, é": "x_3", "7": "mine 4"}
    songs = [Song(str(number), Path(name).absolute(), "val", "s") for number, name in enumerate(SONGS[:2])]
    write_manifest(Path("manifest.csv"), songs)
    Path("scores.json").write_text(json.dumps([{"song_id": "1", "path": "", "scores": {"Clarity": 2.0}}]))
    found = rows(call("2", "--scores", "scores.json", "--manifest", "manifest.csv", "--by", "system"))
    assert {prompt: row["song_id"] for prompt, row in found.items()} == {"s": "1"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--by", "seed"), "list.jsonl: no line has 'seed'; found path, prompt"),
        (("--by", "{prompt}-*"), "1: has no prompt by '{prompt}-*'; expected one for every song"),
        (("songs", "--by", "prompt"), "songs/p/2.wav: --by prompt: expected a prompt for every song, found none"),
    ],
)
def test_a_wrong_prompt_is_found_before_a_song_is_scored(
    call: Callable[..., Result], scored: list[str], arguments: tuple[str, ...], message: str
) -> None:
    touch(*SONGS)
    Path("list.jsonl").write_text(json.dumps({"path": SONGS[0], "prompt": "a"}))
    result = call("2", "list.jsonl", *arguments, "--checkpoint", "h", code=1)
    assert message in str(result.exception)
    assert scored == []


def test_wrong_weights_are_found_with_the_first_song(call: Callable[..., Result], scored: list[str]) -> None:
    touch(*SONGS)
    result = call("2", "songs", "--rank-by", "Tempo", "--checkpoint", "h", code=1)
    assert str(result.exception) == "weights: 'Tempo' is not scored; expected one or more of Musicality, Clarity"
    assert scored == ["p/1"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("2",), "give the songs"),
        (("2", "a.wav", "--scores", "s.json"), "give the songs"),
        (("1", "a.wav"), "greater than or equal to 2"),
        (("2", "a.wav", "--checkpoint", "h", "--rank-by", "Clarity=x"), "expected a number after ="),
    ],
)
def test_wrong_usage(call: Callable[..., Result], arguments: tuple[str, ...], message: str) -> None:
    assert message in " ".join(call(*arguments, code=2).output.replace("│", " ").split())


def test_files_and_the_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "70")
    spread = {"Clarity": 0.2}
    found = [
        SongScore(song_id=f"{EVIL}/1", path="", scores={"Clarity": 3.0}, spread=spread, novelty=1.4, caution="a demo"),
        SongScore(song_id=f"{EVIL}/2", path="", scores={"Clarity": 2.9}, spread=spread, novelty=1.5),
        SongScore(song_id="q/1", path="", error="broken"),
    ]
    choices = choices_of(found)
    print_choices(choices, value="Clarity=3,Musicality=1")
    shown = capsys.readouterr().out
    assert "\x1b[2J" not in shown
    assert max(map(len, shown.splitlines())) <= 70
    for text in ("value", "0.10 ± 0.28", "⚠ novelty 1.40", "⚠ unclear", "none scored", "⚠ a demo"):
        assert text in shown
    write_choices_csv(tmp_path / "best.csv", choices)
    with (tmp_path / "best.csv").open(newline="", encoding="utf-8") as file:
        first, second = csv.DictReader(file)
    assert (first["value"], first["margin"], first["flagged"]) == ("3.000000", "0.100000", "2")
    assert first["warning"].startswith("unlike the training songs: novelty 1.40")
    assert (second["prompt"], second["song_id"], second["value"], second["failed"]) == ("q", "", "", "1")
