"""`hear-head train` and `evaluate`: usage, errors in one line, Ctrl-C, kill −9 and --resume."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipeline.cli import entry
from stages.songs import DIMENSIONS, Song, read_manifest, write_manifest
from store import EmbeddingStore, Spec, StoreWriter, write_receipt

Process = Callable[..., "subprocess.Popen[str]"]

HEAD = [str(Path(sys.executable).parent / "hear-head")]
EPOCHS = "60"
OPTIONS = ["--manifest", "manifest.csv", "--receipt", "receipt.json", "--track", "1", "--size", "small"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working directory with a store of sixteen songs, its receipt and a manifest."""
    folder = tmp_path_factory.mktemp("a user's") / "Köpfe 1"
    folder.mkdir()
    generator = np.random.default_rng(0)
    spec = Spec(streams=("muq/track",), channels=8, encoders={"muq": "sha256:b"}, layers=(10,))
    writer = StoreWriter.open(folder / "store.zarr", spec)
    songs = []
    for number in range(16):
        frames = generator.normal(0, 1, (1, 60, 8)).astype(np.float32)
        writer.write(f"song {number}", 0, frames, attributes={"seconds": 2.4})
        labels = dict.fromkeys(DIMENSIONS, float(generator.uniform(1, 5)))
        songs.append(Song(f"song {number}", folder / "none.wav", "train" if number % 4 else "val", "", labels, {}))
    write_manifest(folder / "manifest.csv", songs)
    write_receipt(EmbeddingStore.open(folder / "store.zarr"), folder / "receipt.json")
    return folder


@pytest.fixture
def at_work(place: Path, start_process: Process) -> Process:
    """A function that starts a training into `out` that would take long, and returns after its first validations."""

    def start(out: str) -> "subprocess.Popen[str]":
        process = start_process(
            [*HEAD, "train", *OPTIONS, "--out", out, "--epochs", EPOCHS],
            cwd=place, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        deadline = time.monotonic() + 300
        while not (place / out / "resume.pt").exists():
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.02)
        return process

    return start


def test_ctrl_c_is_reported_and_the_run_can_be_resumed(place: Path, at_work: Process) -> None:
    process = at_work("interrupted")
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=300)
    assert process.returncode == 130
    assert said.splitlines()[-1] == "hear-head: interrupted"
    assert (place / "interrupted" / "resume.pt").exists()


def test_a_killed_training_resumes_to_the_bytes_of_an_undisturbed_one(
    place: Path, at_work: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = at_work("killed")
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL, "the training must still be running"
    monkeypatch.chdir(place)
    for out in (("killed", "--resume"), ("calm",)):
        monkeypatch.setattr(sys, "argv", ["hear-head", "train", *OPTIONS, "--epochs", EPOCHS, "--out", *out])
        with pytest.raises(SystemExit, check=lambda end: not end.code):
            entry.run("head")
    for name in ("model.safetensors", "metrics.json", "predictions.csv", "evaluations.csv"):
        assert (place / "killed" / name).read_bytes() == (place / "calm" / name).read_bytes(), name


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["train", "--manifest", "manifest.csv", "--track", "1", "--out", "x"], 2, "--store"),
        (["train", *OPTIONS, "--out", "x", "--track", "3"], 2, "--track"),
        (["train", *OPTIONS, "--out", "x", "--beta", "-1"], 2, "--beta"),
        (["train", *OPTIONS, "--out", "x", "--mix", "all"], 2, "--mix"),
        (["train", *OPTIONS, "--out", "x", "--crop", "inf"], 2, "--crop"),
        (["train", *OPTIONS, "--out", "x", "--sigma", "nan"], 2, "--sigma"),
        (["train", *OPTIONS, "--out", "x", "--seed", "18446744073709551616"], 2, "--seed"),
        (["train", *OPTIONS, "--out", "x", "--schedule", "cosine"], 2, "--schedule"),
        (["train", *OPTIONS, "--out", "x", "--plateau-patience", "0"], 2, "--plateau-patience"),
        (["train", *OPTIONS, "--out", "x", "--streams", "muq/track, muq/track"], 1, "'muq/track' is named twice"),
        (["train", *OPTIONS, "--out", "x", "--device", "meta"], 1, "device 'meta' cannot be used here"),
        (["train", *OPTIONS, "--out", "x", "--store", "none.zarr"], 1, "none.zarr"),
        (["train", *OPTIONS, "--out", "x", "--streams", "muq/segment"], 1, "no stream 'muq/segment'"),
        (["train", *OPTIONS, "--out", "x", "--device", "tpu"], 1, "device 'tpu' cannot be used here"),
        (["train", *OPTIONS, "--out", "manifest.csv/x"], 1, "cannot be written: Not a directory"),
        (["train", *OPTIONS[2:], "--manifest", "none.csv", "--out", "x"], 1, "none.csv"),
    ],
)
def test_wrong_usage_is_2_and_our_errors_give_one_line(
    place: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    code: int,
    message: str,
) -> None:
    monkeypatch.chdir(place)
    monkeypatch.setattr(sys, "argv", ["hear-head", *arguments])
    with pytest.raises(SystemExit, check=lambda end: end.code == code):
        entry.run("head")
    said = capsys.readouterr()
    assert said.out == ""
    assert message in said.err
    if code == 1:
        assert len(said.err.splitlines()) == 1
    assert not (place / "x").exists()


def call(monkeypatch: pytest.MonkeyPatch, place: Path, *arguments: str) -> None:
    monkeypatch.chdir(place)
    monkeypatch.setattr(sys, "argv", ["hear-head", *arguments])
    with pytest.raises(SystemExit, check=lambda end: end.code in (0, None)):
        entry.run("head")


def test_resume_prints_the_results_of_a_finished_run(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    train = ["train", *OPTIONS, "--out", "whole", "--epochs", "1", "--streams", " muq/track "]
    call(monkeypatch, place, *train)
    first = capsys.readouterr().out
    before = (place / "whole" / "run.json").stat().st_mtime_ns
    call(monkeypatch, place, *train, "--resume")
    assert capsys.readouterr().out == f"already complete: {first}"
    monkeypatch.setattr(sys, "argv", ["hear-head", *train, "--sigma", "0.5", "--resume"])
    with pytest.raises(SystemExit, check=lambda end: end.code == 1):
        entry.run("head")
    assert "sigma was 1.0, now it is 0.5" in capsys.readouterr().err
    assert (place / "whole" / "run.json").stat().st_mtime_ns == before


@pytest.mark.parametrize("option", ["--out", "--summary"])
def test_unwritable_outputs_of_an_evaluation_are_reported_first(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], option: str
) -> None:
    files = {"--out": "figures.json", "--summary": "means.json", option: "."}
    options = [part for pair in files.items() for part in pair]
    monkeypatch.chdir(place)
    monkeypatch.setattr(
        sys, "argv", ["hear-head", "evaluate", "--checkpoint", "none", "--manifest", "manifest.csv", *options]
    )
    with pytest.raises(SystemExit, check=lambda end: end.code == 1):
        entry.run("head")
    assert capsys.readouterr().err == f"hear-head: {option} .: expected a file, found a folder; choose another name\n"


@pytest.mark.parametrize("seeds", ["1", "2"])
def test_oddities_of_the_songs_are_printed_to_stderr(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], seeds: str
) -> None:
    songs = read_manifest(place / "manifest.csv", check_files=False).songs
    kept = [replace(song, labels={}) if song.song_id == "song 1" else song for song in songs]
    write_manifest(place / "odd.csv", [song for song in kept if song.split == "train" or song.song_id == "song 0"])
    out = f"odd {seeds}"
    options = [*OPTIONS[2:], "--manifest", "odd.csv", "--epochs", "1", "--schedule", "plateau"]
    call(monkeypatch, place, "train", *options, "--out", out, "--seeds", seeds)
    said = capsys.readouterr()
    unrated = "hear-head: left out 1 train song without a rating, the first is 'song 1'"
    assert said.err.splitlines()[:2] == [unrated, "hear-head: only one val song: LCC, SRCC and KTAU are 0"]
    assert seeds == "2" or "11 records, 1 song without a rating left out, " in said.out
    run = place / out if seeds == "1" else place / out / "seed-1"
    assert json.loads((run / "params.json").read_text())["schedule"] == "plateau"
    assert json.loads((run / "run.json").read_text())["unrated"] == ["song 1"]
    evaluate = ["evaluate", *OPTIONS[2:4], "--checkpoint", out, "--out", "odd.json", "--bootstrap", "10"]
    call(monkeypatch, place, *evaluate, "--manifest", "manifest.csv")
    said = capsys.readouterr()
    changed = (
        "the songs or ratings of val have changed since the head was trained: added to val: 3, the first is 'song 4'"
    )
    assert said.err.splitlines()[-1] == f"hear-head: {changed}"
    assert said.out.splitlines()[-1] == f"note: {changed}"
    assert json.loads((place / "odd.json").read_text())["notes"][-1] == changed
