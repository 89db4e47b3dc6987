"""`hear-head predict`: output, files and exit codes."""

import csv
import json
import os
import pty
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
import typer
from typer.testing import CliRunner, Result

from pipeline.cli.entry import run
from pipeline.cli.head_commands.predict import predict
from stages.extract import freshness
from stages.extract.audio.source import file_stamp, read_source
from stages.extract.config import ExtractConfig
from stages.extract.encoders import load_multiscale
from stages.head.checkpoint.head import Head, HeadConfig
from stages.head.checkpoint.saved import save_head
from stages.head.model.hear import HearHead
from stages.head.model.sizes import preset_sizes
from stages.scoring.errors import ScoringError
from stages.scoring.plots import plot_song
from stages.songs import DIMENSIONS, Song, write_manifest
from store import EmbeddingStore, StoreWriter

RATE = 24_000
app = typer.Typer()
app.command()(predict)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Heads `one` and `several/0…1`, songs a1, a2 and b1 in `songs` with a manifest, a bad file, and their store."""
    folder = tmp_path_factory.mktemp("predict")
    encoders = load_multiscale(preset="tiny", layers=(2,), device="cpu", precision="fp32")
    spec = ExtractConfig(preset="tiny", muq="", musicfm="", layers=(2,), dtype="float32").spec(encoders)
    for seed, name in enumerate(("one", "several/0", "several/1")):
        torch.manual_seed(seed)
        sizes = preset_sizes("small", features=4 * encoders.channels, classes=5)
        config = HeadConfig(sizes=sizes, dimensions=DIMENSIONS, streams=encoders.streams, spec=spec.to_json())
        save_head(folder / name, Head(HearHead(sizes), config))
    (folder / "songs").mkdir()
    writer = StoreWriter.open(folder / "store.zarr", spec)
    songs = []
    for number, name in enumerate(("a1", "a2", "b1")):
        samples = np.sin(np.arange(3 * RATE) * 0.02 * (number + 1)).astype(np.float32) * 0.4
        soundfile.write(folder / "songs" / f"{name}.wav", samples, RATE, subtype="FLOAT")
        writer.write(name, 0, encoders.encode(samples), attributes={})
        songs.append(Song(name, folder / "songs" / f"{name}.wav", "val" if number else "train", name[0]))
    write_manifest(folder / "manifest.csv", songs)
    (folder / "bad.wav").write_text("no audio")
    return folder


@pytest.fixture
def call(place: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """A function that runs the command among the songs, and checks its exit code."""
    monkeypatch.chdir(place)

    def run_command(*arguments: str, code: int = 0, head: str = "one", **about: object) -> Result:
        options = ["--checkpoint", head, "--precision", "fp32"]
        result = CliRunner().invoke(app, [*arguments, *options], catch_exceptions=False, **about)
        assert result.exit_code == code, result.output
        return result

    return run_command


def rows(result: Result) -> list[dict]:
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_a_pipe_gets_one_json_line_per_song(call: Callable[..., Result]) -> None:
    result = call("songs", "bad.wav", code=1)
    found = rows(result)
    assert [row["path"] for row in found] == ["songs/a1.wav", "songs/a2.wav", "songs/b1.wav", "bad.wav"]
    assert list(found[0]["scores"]) == list(DIMENSIONS)
    assert found[3]["scores"] == {}
    assert "FFmpeg cannot decode it as audio" in found[3]["error"]
    assert "failed: bad.wav: " in result.stderr
    assert "3 scored, 0 skipped, 1 failed" in result.stderr
    for figure in ("mean", "median", "p5", "p95"):
        assert re.search(rf"^ *{figure} +\d\.\d\d", result.stderr, re.MULTILINE), result.stderr


def test_every_kind_of_input(call: Callable[..., Result], place: Path) -> None:
    (place / "list.txt").write_text("songs/a2.wav\n")
    expected = {"a1": "songs/a1.wav", "a2": "songs/a2.wav", "b1": "songs/b1.wav"}
    assert {row["song_id"]: row["path"] for row in rows(call("songs/*.wav"))} == expected
    assert [row["song_id"] for row in rows(call("list.txt", "songs/a1.wav"))] == ["a2", "a1"]
    assert [row["song_id"] for row in rows(call("-", input="songs/b1.wav\nsongs\n"))] == ["b1", "a1", "a2"]
    assert [row["song_id"] for row in rows(call("--manifest", "manifest.csv", "--split", "val"))] == ["a2", "b1"]


def test_files_and_a_store_that_needs_no_audio(call: Callable[..., Result], place: Path) -> None:
    files = ("--json", "out/s.json", "--csv", "out/s.csv", "--scp", "out/s.scp", "--jsonl", "out/s.jsonl")
    printed = rows(call("songs", *files))
    scores = json.loads((place / "out/s.json").read_text())
    assert [set(row) for row in scores] == [{"song_id", "path", "scores", "caution"}] * 3
    assert [row["scores"] for row in scores] == [row["scores"] for row in printed]
    assert [json.loads(line) for line in (place / "out/s.jsonl").read_text().splitlines()] == printed
    with (place / "out/s.csv").open(encoding="utf-8", newline="") as file:
        assert [row["path"] for row in csv.DictReader(file)] == [row["path"] for row in scores]
    first = (place / "out/s.scp").read_text().splitlines()[0].split(" ")
    assert first == ["a1", *(f"{value:.6f}" for value in scores[0]["scores"].values())]

    heard = call("songs/a1.wav", "--scp", "out/s.scp")
    assert heard.stderr.count("⚠ trained on the demo: meaningless for music") == 1
    assert "out/s.scp: its format cannot hold this caution: trained on the demo: meaningless for music" in heard.stderr

    stored = rows(call("--store", "store.zarr"))
    assert [row["path"] for row in stored] == ["", "", ""]
    for one, other in zip(stored, printed, strict=True):
        assert one["scores"] == pytest.approx(other["scores"], abs=1e-5)
    assert [row["song_id"] for row in rows(call("b1", "--store", "store.zarr"))] == ["b1"]


def test_another_model_scores_beside_ours(
    call: Callable[..., Result], place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (Path(__file__).parents[3] / "docs/how-to/beside.md").read_text(encoding="utf-8")
    (example,) = (code for code in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "def levels" in code)
    (place / "levels.py").write_text(example, encoding="utf-8")
    monkeypatch.setattr(sys, "path", list(sys.path))
    beside = ("--beside", "levels:levels")
    result = call("songs", *beside, "--csv", "beside.csv", "--report", "beside")
    # Sines of amplitude 0.4.
    found = [row["beside"]["levels"] for row in rows(result)]
    assert [one["level"] for one in found] == pytest.approx([20 * np.log10(0.4 / np.sqrt(2))] * 3, abs=0.01)
    with (place / "beside.csv").open(encoding="utf-8", newline="") as file:
        assert [float(row["levels.level"]) for row in csv.DictReader(file)] == pytest.approx(
            [one["level"] for one in found], abs=1e-6
        )
    assert "rank correlation with levels" in result.stderr
    assert '"levels": {"level": {"scale": null' in (place / "beside/index.html").read_text()
    with pytest.raises(ScoringError, match="--beside levels: needs audio, and 3 of 3 songs have no file"):
        call("--store", "store.zarr", *beside)


def test_resume_scores_only_missing_songs(call: Callable[..., Result], place: Path) -> None:
    keep = ("--jsonl", "resumed.jsonl", "--resume")
    first = rows(call("songs/a1.wav", *keep))
    again = call("songs", *keep)
    assert "2 scored, 1 skipped, 0 failed" in again.stderr
    assert rows(again)[0] == first[0]
    assert len((place / "resumed.jsonl").read_text().splitlines()) == 3
    # Another head: no row of the first one is kept.
    assert "3 scored, 0 skipped" in call("songs", *keep, head="several").stderr
    assert "0 scored, 3 skipped" in call("songs", *keep).stderr
    call("songs/a1.wav", "--jsonl", "resumed.jsonl")
    assert len((place / "resumed.jsonl").read_text().splitlines()) == 1


def test_songs_scored_before_ctrl_c_are_kept(
    call: Callable[..., Result], place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = []

    def interrupt(row: object) -> None:
        told.append(row)
        if len(told) == 2:
            raise KeyboardInterrupt

    files = ("--jsonl", "cut.jsonl", "--resume", "--json", "cut.json")
    with monkeypatch.context() as patch:
        patch.setattr("pipeline.cli.head_commands.predict._echo", interrupt)
        call("songs", *files, code=130)
    assert [json.loads(line)["song_id"] for line in (place / "cut.jsonl").read_text().splitlines()] == ["a1", "a2"]
    assert not (place / "cut.json").exists()
    assert "1 scored, 2 skipped, 0 failed" in call("songs", *files).stderr
    assert [row["song_id"] for row in json.loads((place / "cut.json").read_text())] == ["a1", "a2", "b1"]


def test_silent_songs_are_counted(call: Callable[..., Result], tmp_path: Path) -> None:
    soundfile.write(tmp_path / "nothing.wav", np.zeros(RATE), RATE)
    result = call(str(tmp_path / "nothing.wav"), "songs/a1.wav")
    assert "2 scored, 0 skipped, 0 failed; 1 silent\n" in result.stderr
    assert [row.get("warning", "")[:9] for row in rows(result)] == ["silence: ", ""]


def test_best_of_n_and_groups(call: Callable[..., Result]) -> None:
    result = call("--store", "store.zarr", "--manifest", "manifest.csv", "--by", "system", "--top", "1")
    (best,) = rows(result)
    every = rows(call("--store", "store.zarr"))
    assert sum(best["scores"].values()) == max(sum(row["scores"].values()) for row in every)
    assert best["group"] in "ab"
    groups = re.findall(r"^ *([ab]) +(\d) +\d\.\d\d", result.stderr, re.MULTILINE)
    assert sorted(groups) == [("a", "2"), ("b", "1")]


def test_two_models_with_equal_file_names(call: Callable[..., Result], place: Path) -> None:
    for model, song in (("modelA", "a1"), ("modelB", "b1")):
        (place / "out" / model).mkdir(parents=True, exist_ok=True)
        shutil.copy(place / "songs" / f"{song}.wav", place / "out" / model / "001.wav")
    files = ("--scp", "two.scp", "--plots", "two-plots", "--report", "two-report", "--window", "1")
    result = call("out", "--by", "folder", *files)
    assert [(row["song_id"], row["group"]) for row in rows(result)] == [
        ("modelA/001", "modelA"),
        ("modelB/001", "modelB"),
    ]
    assert [line.split(" ")[0] for line in (place / "two.scp").read_text().splitlines()] == ["modelA/001", "modelB/001"]
    assert sorted(path.name for path in (place / "two-plots").iterdir()) == ["modelA_001.png", "modelB_001.png"]
    page = (place / "two-report" / "index.html").read_text(encoding="utf-8")
    assert '"by": "folder"' in page
    assert sorted(re.findall(r"^ *(model[AB]) +1 +\d\.\d\d", result.stderr, re.MULTILINE)) == ["modelA", "modelB"]


def test_plots_of_songs_with_the_same_id_are_named_by_path(
    call: Callable[..., Result], place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    titles = []
    monkeypatch.setattr("pipeline.prediction.plot_song", lambda path, *_, title: titles.append((path.name, title)))
    for folder in ("x", "y"):
        (place / "lists" / folder).mkdir(parents=True)
        (place / "lists" / folder / "wav.scp").write_text(f"utt {place}/songs/{'a1' if folder == 'x' else 'b1'}.wav\n")
    call("lists/x/wav.scp", "lists/y/wav.scp", "songs/a2.wav", "--plots", "one-id", "--window", "1")
    assert [title for _, title in titles] == [f"{place}/songs/a1.wav", f"{place}/songs/b1.wav", "a2"]
    assert [name[-13:] for name, _ in titles] == ["_songs_a1.wav.png"[-13:], "_songs_b1.wav.png"[-13:], "a2.png"]


def test_over_time_with_plots_and_a_report(
    call: Callable[..., Result], place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outlines = []

    def plot(path: Path, row: object, outline: object, **about: str) -> None:
        outlines.append(outline)
        plot_song(path, row, outline, **about)  # type: ignore[arg-type]

    monkeypatch.setattr("pipeline.prediction.plot_song", plot)
    windows = ("--window", "1", "--hop", "0.4")
    result = call("songs/a1.wav", *windows, "--plots", "plots", "--report", "report", head="several")
    (row,) = rows(result)
    assert row["over_time"]["seconds"][:2] == [0.5, 0.9]
    assert set(row["std"]) == set(DIMENSIONS)
    assert (place / "plots" / "a1.png").read_bytes().startswith(b"\x89PNG")
    assert outlines[0] is not None
    page = (place / "report" / "index.html").read_text(encoding="utf-8")
    assert "data:audio/mpeg;base64," in page
    assert '"over_time"' in page
    assert "report: report/index.html" in result.stderr
    # The page always has curves.
    assert "over_time" in rows(call("songs/a1.wav", "--report", "report"))[0]
    (plain,) = rows(call("songs/a1.wav", "--over-time"))
    assert plain["over_time"]["seconds"] == [1.5]


def test_a_terminal_gets_a_table(place: Path, start_process: "Callable[..., subprocess.Popen[bytes]]") -> None:
    """Run in a real terminal, as the shown form depends on it."""
    leader, follower = pty.openpty()
    command = "from pipeline.cli.head_commands.predict import predict; import typer; typer.run(predict)"
    options = ["--checkpoint", "several", "--precision", "fp32", "--top", "2"]
    process = start_process(
        [sys.executable, "-c", command, "songs", "bad.wav", *options],
        cwd=place,
        stdout=follower,
        stderr=subprocess.PIPE,
        env={**os.environ, "COLUMNS": "140", "PYTHONPATH": str(Path.cwd())},
    )
    os.close(follower)
    printed = b""
    while True:
        try:
            block = os.read(leader, 1 << 16)
        except OSError:
            break
        if not block:
            break
        printed += block
    os.close(leader)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 1, errors
    text = re.sub(r"\x1b\[[0-9;]*m", "", printed.decode())
    lines = [line.split() for line in text.splitlines()]
    heading = next(line for line in lines if line[:1] == ["song"])
    assert heading == ["song", *DIMENSIONS, "Mean"]
    assert ["in", "songs"] in lines
    songs = [line for line in lines if line and line[0].endswith(".wav")]
    assert len(songs) == 2
    assert songs[0].count("±") == 5
    assert float(songs[0][-1]) >= float(songs[1][-1])
    assert [line[0] for line in lines if line and line[0] in ("mean", "median", "p5", "p95")] == [
        "mean",
        "median",
        "p5",
        "p95",
    ]
    assert "{" not in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give songs"),
        (["songs", "--resume"], "--resume continues the file of --jsonl"),
        (["songs", "--by", "system"], "--by refers to a manifest"),
        (["songs", "--split", "val"], "--split refers to a manifest"),
        (["songs", "--manifest", "manifest.csv", "--split", "val"], "leave INPUT out"),
        (["songs", "--top", "0"], "or equal to 1"),
    ],
)
def test_wrong_usage(call: Callable[..., Result], arguments: list[str], message: str) -> None:
    result = call(*arguments, code=2)
    assert message in " ".join(result.stderr.replace("│", " ").split())


def test_our_errors_give_one_line(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(place)
    for arguments, message in (
        (["nothing/*.mp3", "--checkpoint", "one"], "nothing/*.mp3: no file has this name or matches this pattern"),
        (["songs", "--checkpoint", "gone"], "gone: no such checkpoint"),
        (["songs", "--checkpoint", "x" * 300], "xxx: no such checkpoint"),
        (["songs", "--checkpoint", "one", "--json", "songs"], "--json songs: expected a file, found a folder"),
        (["songs", "--checkpoint", "one", "--report", "bad.wav"], "--report bad.wav: cannot be created as a folder"),
        (["--store", "gone.zarr", "--checkpoint", "one"], "gone.zarr"),
    ):
        monkeypatch.setattr("sys.argv", ["hear-head", "predict", *arguments])
        with pytest.raises(SystemExit, match="1"):
            run("head")
        error = capsys.readouterr().err
        assert error.startswith("hear-head: ")
        assert message in error
        assert error.count("\n") == 1


def test_a_song_that_changed_after_extraction_is_a_row_with_an_error(
    call: Callable[..., Result], place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = EmbeddingStore.open(place / "store.zarr")
    writer, songs = StoreWriter.open(tmp_path / "store.zarr", stored.spec), []
    for name in ("a1", "a2", "b1"):
        path = tmp_path / f"{name}.wav"
        path.write_bytes((place / "songs" / f"{name}.wav").read_bytes())
        attributes = read_source(path, since=file_stamp(path)).attributes
        writer.write(name, 0, stored.read(name), attributes=attributes)
        songs.append(Song(name, path, "val"))
    write_manifest(tmp_path / "manifest.csv", songs)
    (tmp_path / "a1.wav").write_bytes((tmp_path / "b1.wav").read_bytes())
    (tmp_path / "a2.wav").unlink()
    options = ("--store", writer.root, "--manifest", str(tmp_path / "manifest.csv"))
    found = {row["song_id"]: row for row in rows(call(*options, code=1))}
    error = "its file has changed since it was extracted; run hear-extract again"
    assert {name: row.get("error", "") for name, row in found.items()} == {"a1": error, "a2": "", "b1": ""}
    assert [bool(row["scores"]) for row in found.values()] == [False, True, True]
    # A touched file is hashed once.
    os.utime(tmp_path / "b1.wav", (1, 1))
    read: list[str] = []
    monkeypatch.setattr(
        freshness, "read_source", lambda path, since: [read.append(path.stem), read_source(path, since=since)][1]
    )
    assert [rows(call(*options, code=1))[2].get("error", "") for _ in range(2)] == ["", ""]
    assert sorted(read) == ["a1", "a1", "b1"]
    # Without a manifest, files are unknown.
    assert ["error" in row for row in rows(call("--store", writer.root))] == [False] * 3
