"""`hear-head train` and `evaluate` as a user meets them: usage, errors in one line, Ctrl-C, kill −9 and --resume."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from pipeline.cli import entry
from stages.songs import DIMENSIONS, Song, write_manifest
from store import EmbeddingStore, Spec, StoreWriter, write_receipt

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


def run(place: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*HEAD, *arguments], cwd=place, capture_output=True, text=True, timeout=120, check=False)


def at_work(place: Path, out: str) -> subprocess.Popen[str]:
    """A training that would take long, after its first validations."""
    process = subprocess.Popen(
        [*HEAD, "train", *OPTIONS, "--out", out, "--epochs", EPOCHS],
        cwd=place, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    deadline = time.monotonic() + 90
    while not (place / out / "resume.pt").exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return process


def test_ctrl_c_is_said_and_what_was_kept_can_be_gone_on_with(place: Path) -> None:
    process = at_work(place, "interrupted")
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert said.splitlines()[-1] == "hear-head: interrupted"
    assert (place / "interrupted" / "resume.pt").exists()


def test_a_killed_training_resumes_to_the_bytes_of_an_undisturbed_one(place: Path) -> None:
    process = at_work(place, "killed")
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert run(place, "train", *OPTIONS, "--out", "killed", "--epochs", EPOCHS, "--resume").returncode == 0
    assert run(place, "train", *OPTIONS, "--out", "calm", "--epochs", EPOCHS).returncode == 0
    for name in ("model.safetensors", "metrics.json", "predictions.csv", "evaluations.csv"):
        assert (place / "killed" / name).read_bytes() == (place / "calm" / name).read_bytes(), name


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["train", "--manifest", "manifest.csv", "--track", "1", "--out", "x"], 2, "--store"),
        (["train", *OPTIONS, "--out", "x", "--track", "3"], 2, "--track"),
        (["train", *OPTIONS, "--out", "x", "--beta", "-1"], 2, "--beta"),
        (["train", *OPTIONS, "--out", "x", "--mix", "all"], 2, "--mix"),
        (["train", *OPTIONS, "--out", "x", "--store", "none.zarr"], 1, "none.zarr"),
        (["train", *OPTIONS, "--out", "x", "--streams", "muq/segment"], 1, "no stream 'muq/segment'"),
        (["train", *OPTIONS, "--out", "x", "--device", "tpu"], 1, "device 'tpu' cannot be used here"),
        (["train", *OPTIONS, "--out", "manifest.csv/x"], 1, "cannot be written: Not a directory"),
        (["train", *OPTIONS[2:], "--manifest", "none.csv", "--out", "x"], 1, "none.csv"),
    ],
)
def test_wrong_usage_is_2_and_our_errors_are_one_line(
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
        entry.head()
    said = capsys.readouterr()
    assert said.out == ""
    assert message in said.err
    if code == 1:
        assert len(said.err.splitlines()) == 1
    assert not (place / "x").exists()
