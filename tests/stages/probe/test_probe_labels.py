"""Columns of a manifest and of a table of labels."""

from pathlib import Path

import pytest

from stages.probe.data.labels import read_labels
from stages.probe.errors import ProbeError
from stages.songs import SongsError

MANIFEST = "song_id,path,split,system,Clarity,mood\na,a.wav,train,mg,3.5,calm\nb,b.wav,val,,,wild\n"


def write(folder: Path, name: str, text: str) -> Path:
    (folder / name).write_text(text, encoding="utf-8")
    return folder / name


def test_every_column_of_a_manifest_is_a_label(tmp_path: Path) -> None:
    table = read_labels(manifest=write(tmp_path, "manifest.csv", MANIFEST))
    assert table.songs == ("a", "b")
    assert {name: dict(table.column(name)) for name in table.columns} == {
        "split": {"a": "train", "b": "val"},
        "system": {"a": "mg"},
        "Clarity": {"a": "3.5"},
        "mood": {"a": "calm", "b": "wild"},
    }


def test_the_table_overrides_the_manifest(tmp_path: Path) -> None:
    manifest = write(tmp_path, "manifest.csv", MANIFEST)
    labels = write(tmp_path, "labels.csv", "song_id,mood,key\nb, sad ,NaN\nc,,F♯\n")
    table = read_labels(manifest=manifest, labels=labels)
    assert table.songs == ("a", "b", "c")
    assert dict(table.column("mood")) == {"b": "sad"}
    assert dict(table.column("key")) == {"c": "F♯"}
    assert dict(table.column("system")) == {"a": "mg"}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("labels.csv", "song_id;mood\r\na;x, y\r\nb;\r\n"),
        ("labels.csv", "song_id\tmood\na\tx, y\nb\t\n"),
        ("labels.jsonl", '{"song_id": "a", "mood": "x, y"}\n{"song_id": "b"}\n'),
    ],
)
def test_labels_of_other_forms(tmp_path: Path, name: str, text: str) -> None:
    table = read_labels(labels=write(tmp_path, name, text))
    assert (table.songs, dict(table.column("mood"))) == (("a", "b"), {"a": "x, y"})


def test_a_comma_in_an_id_stays(tmp_path: Path) -> None:
    table = read_labels(labels=write(tmp_path, "labels.csv", "song_id;bpm;system\n1,5;90,5;3,5\n1.5;100;4\n"))
    assert dict(table.column("bpm")) == {"1,5": "90.5", "1.5": "100"}
    assert dict(table.column("system")) == {"1,5": "3,5", "1.5": "4"}


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("song_id,mood\na,x\na,y\n", ProbeError, "labels.csv line 3: song_id 'a' is repeated"),
        ("song_id,mood\n,x\n", ProbeError, "labels.csv line 2: song_id is empty"),
        ("song_id\na\n", ProbeError, "has no labels; expected a column beside song_id"),
        ("name,mood\na,x\n", SongsError, "labels.csv line 1: no column song_id; found name, mood"),
        ("song_id,mood\na\n", SongsError, "labels.csv line 2: expected 2 cells"),
    ],
)
def test_a_csv_with_an_error(tmp_path: Path, text: str, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        read_labels(labels=write(tmp_path, "labels.csv", text))


def test_neither(tmp_path: Path) -> None:
    with pytest.raises(ProbeError, match="no source of labels"):
        read_labels()
