"""Commands that train on stored songs, or evaluate with them, refuse songs that were replaced since extraction."""

import os
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pipeline.cli.entry import run
from stages.extract import freshness
from stages.extract.audio.source import file_stamp, read_source
from stages.songs import DIMENSIONS, Song, write_manifest
from store import Spec, StoreWriter

COMMANDS = {
    "train": ("head", ["train", "--track", "1", "--size", "small", "--epochs", "1", "--out", "out"]),
    "evaluate": ("head", ["evaluate", "--checkpoint", "none", "--out", "out.json"]),
    "ablate": ("head", ["ablate", "--track", "1", "--size", "small", "--epochs", "1", "--out", "out"]),
    "probe": ("probe", ["--target", "system", "--model", "logistic", "--setting", "0.1", "--bootstrap", "20"]),
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a store of 24 songs, their files and a manifest; one in four is for validation."""
    generator = np.random.default_rng(0)
    spec = Spec(streams=("muq/track",), channels=4, encoders={"muq": "sha256:b"}, layers=(10,))
    writer, songs = StoreWriter.open(tmp_path / "store.zarr", spec), []
    for number in range(24):
        path = tmp_path / f"{number}.wav"
        path.write_text(f"song {number:02d}")
        frames = generator.normal(0, 1, (1, 60, 4)).astype(np.float32)
        source = read_source(path, since=file_stamp(path))
        writer.write(f"song {number}", 0, frames, attributes={"seconds": 2.4, **source.attributes})
        labels = dict.fromkeys(DIMENSIONS, float(generator.uniform(1, 5)))
        songs.append(Song(f"song {number}", path, "train" if number % 4 else "val", "ab"[number % 2], labels, {}))
    write_manifest(tmp_path / "manifest.csv", songs)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[[str], tuple[int, list[str]]]:
    """A function that runs a command of `COMMANDS`, and returns its exit code and its lines on stderr."""

    def command(name: str) -> tuple[int, list[str]]:
        app, arguments = COMMANDS[name]
        options = ["--store", "store.zarr", "--manifest", "manifest.csv"]
        monkeypatch.setattr(sys, "argv", [f"hear-{app}", *arguments, *options])
        with pytest.raises(SystemExit, match=r"^[01]$") as end:
            run(app)
        return int(str(end.value)), capsys.readouterr().err.splitlines()

    return command


@pytest.mark.parametrize("name", COMMANDS)
def test_a_replaced_song_is_refused_in_one_line_before_anything_is_written(
    name: str, folder: Path, call: Callable[[str], tuple[int, list[str]]]
) -> None:
    (folder / "4.wav").write_text("a longer song than it was")
    code, (line,) = call(name)
    count = {"evaluate": 6}.get(name, 24)
    assert code == 1
    assert line == (
        f"hear-{COMMANDS[name][0]}: {folder / 'store.zarr'}: 1 of {count} songs changed since extraction, the first is "
        f"'song 4' ({folder / '4.wav'}); run hear-extract again"
    )
    assert not list(folder.glob("out*"))


def test_a_changed_song_of_another_split_does_not_matter(
    folder: Path, call: Callable[[str], tuple[int, list[str]]]
) -> None:
    (folder / "1.wav").write_text("a longer song than it was")
    code, lines = call("evaluate")
    assert code == 1
    assert "none" in lines[-1], "the head that is not there"
    assert "changed" not in lines[-1]


@pytest.mark.parametrize("left", [0, 23])
def test_without_the_audio_there_is_one_note(
    left: int, folder: Path, call: Callable[[str], tuple[int, list[str]]]
) -> None:
    for number in range(left, 24):
        (folder / f"{number}.wav").unlink()
    code, lines = call("probe")
    assert code == 0
    assert lines == [
        f"note: {24 - left} of 24 songs cannot be compared with their stored records, the first: "
        f"{folder / f'{left}.wav'}: cannot be read: No such file or directory"
    ]


@pytest.mark.parametrize("name", ["probe", "train"])
def test_touched_songs_are_not_changed_songs(
    name: str, folder: Path, call: Callable[[str], tuple[int, list[str]]]
) -> None:
    for path in folder.glob("*.wav"):
        os.utime(path, (1, 1))
    code, lines = call(name)
    assert code == 0, lines
    assert not any("changed" in line or "note" in line for line in lines)


@pytest.mark.parametrize("writable", [True, False])
def test_touched_songs_are_hashed_once_if_the_store_is_writable(
    writable: bool, folder: Path, call: Callable[[str], tuple[int, list[str]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of SongEval is 11 GB. `evaluate` represents the commands: here it ends because the head is missing."""
    for path in folder.glob("*.wav"):
        os.utime(path, (1, 1))
    if not writable:
        (folder / "store.zarr" / "catalogue").write_text("Where a file is, no folder can be made.")
    read: list[Path] = []
    monkeypatch.setattr(
        freshness, "read_source", lambda path, since: [read.append(path), read_source(path, since=since)][1]
    )
    for expected in (6, 6 if writable else 12):
        code, lines = call("evaluate")
        assert (code, len(lines)) == (1, 1)
        assert lines[0].startswith("hear-head: none: no such checkpoint")
        assert len(read) == expected
