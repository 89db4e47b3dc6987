"""Untrusted lists, labels and data sets: any JSON and any kind of file gives songs or one line."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stages.scoring.inputs import expand_inputs
from stages.songs import DIMENSIONS, read_manifest
from stages.songs.folder import read_folder
from stages.songs.manifest_file import write_manifest
from stages.songs.songeval import read_songeval
from tests.store.hostile import IRREGULAR, TEXTS, VALUES, attempt, places, put, within

# An error may contain a whole id or cell, which has up to this many characters in these tests, escaped.
LONGEST = 3_000_000
RATED = dict.fromkeys(DIMENSIONS, 3.5)
ROWS: dict[str, dict[str, Any]] = {
    "metadata.jsonl": {"file_name": "mp3/a.mp3", "annotation": [RATED, RATED], "system": "x", "key": 5},
    "labels.jsonl": {"song_id": "a", "path": "mp3/a.mp3", "split": "train", "system": "x", "Clarity": 3.5, "key": [1]},
    "list.jsonl": {"audio_filepath": "mp3/a.mp3", "id": "a", "Clarity": 3.5},
}
NAMES = [*ROWS, "labels.csv", "manifest.csv", "val_ids.txt", "wav.scp", "list.txt"]


@pytest.fixture
def songs(tmp_path: Path) -> Path:
    """A folder of two songs with a list of each kind, and labels."""
    (tmp_path / "mp3").mkdir()
    for name in "ab":
        (tmp_path / f"mp3/{name}.mp3").write_bytes(b"x")
    for name, row in ROWS.items():
        other = json.loads(json.dumps(row).replace('"mp3/a.mp3"', '"mp3/b.mp3"').replace('"a"', '"b"'))
        (tmp_path / name).write_text(json.dumps(other) + "\n" + json.dumps(row) + "\n")
    (tmp_path / "labels.csv").write_text("song_id,Clarity\na,3\n")
    (tmp_path / "manifest.csv").write_text("song_id,path,split\na,mp3/a.mp3,train\n")
    (tmp_path / "val_ids.txt").write_text("mp3/b.mp3\n")
    (tmp_path / "wav.scp").write_text("a mp3/a.mp3\nb mp3/b.mp3\n")
    (tmp_path / "list.txt").write_text("mp3/a.mp3\n")
    return tmp_path


def readers(folder: Path) -> dict[str, Callable[[], object]]:
    """Functions that read each file and write a manifest."""

    def written(songs: Any) -> None:
        write_manifest(folder / "out/manifest.csv", songs)

    shares = {"validation": 0.0, "test": 0.0}
    return {
        "metadata.jsonl": lambda: written(read_songeval(folder, official=False)),
        "val_ids.txt": lambda: written(read_songeval(folder, official=False)),
        "labels.jsonl": lambda: written(read_folder(folder / "mp3", labels=folder / "labels.jsonl", **shares)),
        "labels.csv": lambda: written(read_folder(folder / "mp3", labels=folder / "labels.csv", **shares)),
        "list.jsonl": lambda: [
            written(read_folder(folder / "list.jsonl", **shares)),
            expand_inputs([str(folder / "list.jsonl")]),
        ],
        "wav.scp": lambda: [
            written(read_folder(folder / "wav.scp", **shares)),
            expand_inputs([str(folder / "wav.scp")]),
        ],
        "list.txt": lambda: expand_inputs([str(folder / "list.txt")]),
        "manifest.csv": lambda: read_manifest(folder / "manifest.csv", check_files=False),
    }


def test_the_files_are_good(songs: Path) -> None:
    assert [attempt(read, longest=LONGEST) for read in readers(songs).values()] == [""] * len(NAMES)


@pytest.mark.parametrize("name", ROWS)
def test_hostile_values(name: str, songs: Path) -> None:
    lines = (songs / name).read_text().splitlines()
    read = readers(songs)[name]
    for place in places(ROWS[name]):
        for value in VALUES:
            row = json.loads(lines[1])
            put(row, place, value)
            (songs / name).write_text(f"{lines[0]}\n{json.dumps(row)}\n")
            problem = attempt(read, longest=LONGEST)
            assert not problem or str(songs) in problem
    for value in VALUES:
        (songs / name).write_text(f"{lines[0]}\n{json.dumps(value)}\n")
        assert f"{name} line 2: " in attempt(read, longest=LONGEST)


@pytest.mark.parametrize("name", NAMES)
def test_hostile_text(name: str, songs: Path) -> None:
    for kind in TEXTS.keys() - {"too large"}:  # for one document; a table may have many
        (songs / name).write_bytes(TEXTS[kind])
        attempt(readers(songs)[name], longest=LONGEST)


@pytest.mark.parametrize("kind", IRREGULAR)
@pytest.mark.parametrize("name", NAMES)
def test_irregular_files_do_not_block(name: str, kind: str, songs: Path) -> None:
    (songs / name).unlink()
    IRREGULAR[kind](songs / name)
    with within(60):
        problem = attempt(readers(songs)[name], longest=LONGEST)
    if name != "list.txt":  # which is then reported as a file to score
        assert str(songs / name) in problem


def test_lines_with_different_columns_are_refused(songs: Path) -> None:
    lines = [json.dumps({"song_id": "a", f"c{number}": 1}) for number in range(5_000)]
    (songs / "labels.jsonl").write_text("\n".join(lines))
    with within(20):
        told = attempt(readers(songs)["labels.jsonl"])
    assert "labels.jsonl: 5000 lines have 5001 different columns" in told


@pytest.mark.parametrize("name", ["labels.csv", "manifest.csv"])
def test_many_columns_are_fast(name: str, songs: Path) -> None:
    (songs / name).write_text("song_id,path,split" + ",c" * 100_000 + "\n")
    with within(20):
        assert "line 1: expected at most 10000 columns, found 100003" in attempt(readers(songs)[name])
