"""What a user names → songs: each kind of input, their order, and what is refused."""

import os
from pathlib import Path

import pytest

from stages.scoring.errors import ScoringError
from stages.scoring.inputs import audio_candidates, chosen_split, expand_inputs, store_candidates
from stages.songs import Song, SongsError, read_manifest, write_manifest
from store import EmbeddingStore


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a.mp3", "b.FLAC", "notes.md", "deep/er/c.wav", "[1].mp3"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path


def named(paths: list[Path], folder: Path) -> list[str]:
    return [os.path.relpath(path, folder) for path in paths]


def test_a_folder_is_all_audio_in_and_below_it(folder: Path) -> None:
    assert named(expand_inputs([str(folder)]), folder) == ["[1].mp3", "a.mp3", "b.FLAC", "deep/er/c.wav"]


def test_files_come_once_and_in_order_and_missing_ones_are_kept(folder: Path) -> None:
    inputs = [str(folder / "b.FLAC"), str(folder / "gone.mp3"), str(folder), str(folder / "deep/../a.mp3")]
    assert named(expand_inputs(inputs), folder) == ["b.FLAC", "gone.mp3", "[1].mp3", "a.mp3", "deep/er/c.wav"]


def test_patterns(folder: Path) -> None:
    assert named(expand_inputs([f"{folder}/*.mp3"]), folder) == ["[1].mp3", "a.mp3"]
    assert named(expand_inputs([f"{folder}/**/*.wav"]), folder) == ["deep/er/c.wav"]
    assert named(expand_inputs([f"{folder}/de*"]), folder) == ["deep/er/c.wav"]
    # A file of that very name is meant, not the pattern.
    assert named(expand_inputs([f"{folder}/[1].mp3"]), folder) == ["[1].mp3"]
    with pytest.raises(ScoringError, match=r"\*\.ogg: no file has this name or matches"):
        expand_inputs([f"{folder}/*.ogg"])


def test_lists_and_standard_input(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "list.txt").write_text("\ufeffa.mp3\r\n\ndeep\ngone.wav\n", encoding="utf-8")
    assert named(expand_inputs([str(folder / "list.txt")]), folder) == ["a.mp3", "deep/er/c.wav", "gone.wav"]
    monkeypatch.chdir(folder)
    (folder / "deep" / "list.txt").write_text("a.mp3\n")
    assert expand_inputs(["deep/list.txt"]) == [Path("a.mp3")]
    assert expand_inputs(["-"], lines=["b.FLAC\n", "deep\n"]) == [Path("b.FLAC"), Path("deep/er/c.wav")]


def test_an_empty_list_is_refused() -> None:
    assert expand_inputs([]) == []
    with pytest.raises(ScoringError, match="-: names no file"):
        expand_inputs(["-"], lines=["\n"])


def test_a_folder_without_audio_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ScoringError, match="has no audio in it or below"):
        expand_inputs([str(tmp_path)])


def test_a_name_that_is_not_utf8_becomes_text(tmp_path: Path) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.wav"))
    (candidate,) = audio_candidates([path])
    assert candidate.song_id == r"\xff"
    assert candidate.shown_path == rf"{tmp_path}/\xff.wav"
    assert candidate.path == path


@pytest.fixture
def manifest(folder: Path) -> Path:
    songs = [
        Song("first", folder / "a.mp3", "train", "mg"),
        Song("second", folder / "deep/er/c.wav", "val", "mlm"),
    ]
    write_manifest(folder / "manifest.csv", songs)
    return folder / "manifest.csv"


def test_a_manifest_gives_ids_and_groups(folder: Path, manifest: Path) -> None:
    read = read_manifest(manifest)
    found = audio_candidates([folder / "b.FLAC", folder / "deep" / "er" / "c.wav"], read, by="system")
    assert [(song.song_id, song.group) for song in found] == [("b", ""), ("second", "mlm")]
    assert [song.song_id for song in audio_candidates([], read)] == ["first", "second"]
    assert [song.song_id for song in audio_candidates([], chosen_split(read, "val"))] == ["second"]
    with pytest.raises(SongsError, match="no column 'mood'"):
        audio_candidates([], read, by="mood")
    with pytest.raises(ScoringError, match="'system' needs a manifest"):
        audio_candidates([folder / "a.mp3"], by="system")


def test_songs_of_a_store(store_root: str, folder: Path, manifest: Path) -> None:
    store = EmbeddingStore.open(store_root)
    names = ["short", *(f"söng {number}" for number in range(4))]
    assert [song.song_id for song in store_candidates(store)] == names
    assert [song.song_id for song in store_candidates(store, only=["söng 2"])] == ["söng 2"]
    found = store_candidates(store, read_manifest(manifest), by="system")
    assert [(song.song_id, song.path, song.group) for song in found] == [
        ("first", folder / "a.mp3", "mg"),
        ("second", folder / "deep/er/c.wav", "mlm"),
    ]
