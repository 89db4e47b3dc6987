"""Folders and lists of audio: songs, labels, and the seeded split."""

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from stages.songs import SongsError, read_manifest, write_manifest
from stages.songs.folder import draw_splits, read_folder

# Valid file names, with room for a suffix; a leading dot hides a file.
NAMES = (
    st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=12)
    .filter(lambda name: not name.startswith("."))
    .map(lambda name: f"{name}-")
)


def fill(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def put(folder: Path, text: str) -> Path:
    (folder / "labels.csv").write_text(text, encoding="utf-8")
    return folder / "labels.csv"


def test_audio_is_found_below_by_suffix_and_ids_are_paths_without_suffix(tmp_path: Path) -> None:
    fill(tmp_path, "b.FLAC", "a_1.x.mp3", "c/d.2/e.m4a", "cover.jpg", "notes.txt", ".hidden.wav", "🎵\n.opus")
    (tmp_path / "folder.wav").mkdir()
    songs = read_folder(tmp_path, validation=0)
    assert {song.song_id for song in songs} == {"b", "a_1.x", "c/d.2/e", "🎵\n"}
    assert {song.split for song in songs} == {"train"}
    write_manifest(tmp_path / "manifest.csv", songs)
    assert list(read_manifest(tmp_path / "manifest.csv").songs) == songs


@settings(max_examples=50)
@example(["a\rb", "\r", "a\nb", "\r\n", '"', "a,b", " a ", "\ufeff"], "\r")
@given(st.lists(NAMES, min_size=1, max_size=4, unique_by=lambda name: name.casefold()), NAMES)
def test_any_file_name_gives_a_manifest_that_reads_back(names: list[str], model: str) -> None:
    with tempfile.TemporaryDirectory() as place:
        folder = fill(Path(place), *(f"{model}/{name}.wav" for name in names))
        songs = read_folder(folder, validation=0)
        assert {song.song_id for song in songs} == {f"{model}/{name}" for name in names}
        write_manifest(folder / "manifest.csv", songs)
        assert list(read_manifest(folder / "manifest.csv").songs) == songs


def test_equal_stems_in_two_folders_are_two_songs_and_in_one_are_refused(tmp_path: Path) -> None:
    fill(tmp_path, "a/song.mp3", "b/song.wav")
    assert [song.song_id for song in read_folder(tmp_path, validation=0)] == ["a/song", "b/song"]
    fill(tmp_path, "b/song.mp3")
    with pytest.raises(SongsError, match=r"b/song\.mp3 and .*b/song\.wav give the same song id 'b/song'; remove or"):
        read_folder(tmp_path)


def test_stems_that_differ_only_in_case_are_two_songs(tmp_path: Path) -> None:
    fill(tmp_path, "a/Song.mp3", "a/song.wav")
    assert {song.song_id for song in read_folder(tmp_path, validation=0)} == {"a/Song", "a/song"}


def test_the_first_folder_is_the_system_on_request(tmp_path: Path) -> None:
    fill(tmp_path, "mA/x/1.wav", "mB/1.wav", "2.wav")
    labels = put(tmp_path, "song_id,system\nmB/1,suno\n")
    songs = read_folder(tmp_path, labels=labels, validation=0, system_from_folder=True)
    assert {song.song_id: song.system for song in songs} == {"mA/x/1": "mA", "mB/1": "suno", "2": ""}
    assert {song.system for song in read_folder(tmp_path, validation=0)} == {""}


def test_a_folder_without_audio_or_no_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SongsError, match=r"no audio files; looked for \.wav"):
        read_folder(fill(tmp_path, "a.txt"))
    with pytest.raises(SongsError, match=r"a\.txt: not a folder"):
        read_folder(tmp_path / "a.txt")


@pytest.mark.skipif(os.name == "nt", reason="names are Unicode there")
def test_a_name_that_a_manifest_cannot_hold_is_an_error(tmp_path: Path) -> None:
    Path(tmp_path, os.fsdecode(b"\xff.wav")).touch()
    with pytest.raises(SongsError, match="the file name is not UTF-8"):
        read_folder(tmp_path)


def test_the_split_is_seeded_and_has_the_requested_sizes(tmp_path: Path) -> None:
    ids = [str(number) for number in range(100)]
    splits = draw_splits(ids, validation=0.2, test=0.1, seed=0)
    assert [list(splits.values()).count(name) for name in ("val", "test", "train")] == [20, 10, 70]
    assert draw_splits(ids[::-1], validation=0.2, test=0.1, seed=0) == splits
    assert draw_splits(ids, validation=0.2, test=0.1, seed=1) != splits


def test_fractions_get_at_least_one_song_and_train_keeps_one() -> None:
    assert sorted(draw_splits(["a", "b"], validation=0.01, test=0, seed=0).values()) == ["train", "val"]
    with pytest.raises(SongsError, match="1 songs, 1 of them for val and 0 for test, leave none for training"):
        draw_splits(["a"], validation=0.1, test=0, seed=0)
    with pytest.raises(SongsError, match="expected fractions from 0 to 1"):
        draw_splits(["a"], validation=1.5, test=0, seed=0)


def test_labels_by_id_or_by_path(tmp_path: Path) -> None:
    fill(tmp_path, "a.wav", "b/c.wav", "d.wav")
    by_id = put(tmp_path, "song_id,Clarity,genre,split,system\na,4.5,folk,test,suno\nc,,jazz,val,\n")
    songs = {song.song_id: song for song in read_folder(tmp_path, labels=by_id, validation=0)}
    assert songs["a"].labels == {"Clarity": 4.5}
    assert (songs["a"].split, songs["a"].system, songs["a"].extra) == ("test", "suno", {"genre": "folk"})
    assert (songs["b/c"].split, songs["b/c"].labels) == ("val", {})
    assert (songs["d"].split, songs["d"].extra) == ("train", {})
    by_path = put(tmp_path, "path,Clarity\nb/c.wav,2\n")
    songs = {song.song_id: song for song in read_folder(tmp_path, labels=by_path, validation=0)}
    assert songs["b/c"].labels == {"Clarity": 2.0}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            "name,Clarity\na,3\n",
            r"labels\.csv line 1: expected a column song_id, path, .* or file_name; found name, Clarity",
        ),
        ("song_id,Clarity\na,3\nx,3\n", r"labels\.csv line 3: song_id 'x' is not an audio file in"),
        ("path,Clarity\n../a.wav,3\n", r"labels\.csv line 2: path '\.\./a\.wav' is not an audio file in"),
        (
            "song_id,Clarity\na,3\na,4\n",
            r"labels\.csv line 3: 'a' is already on line 2; write one line per song, with the mean",
        ),
        ("song_id,Clarity\na,7\n", r"labels\.csv line 2: expected a number from 1 to 5 for Clarity, found '7'"),
        ("song_id,split\na,dev\n", r"labels\.csv line 2: expected train, val or test as split, found 'dev'"),
        ("", r"labels\.csv: empty file"),
    ],
)
def test_errors_in_labels_name_the_line(tmp_path: Path, text: str, problem: str) -> None:
    fill(tmp_path, "a.wav")
    with pytest.raises(SongsError, match=problem):
        read_folder(tmp_path, labels=put(tmp_path, text), validation=0)


@pytest.mark.parametrize("target", ["nowhere.wav", "bad.wav", "/dev/zero"])
def test_broken_links_are_named(tmp_path: Path, target: str) -> None:
    fill(tmp_path, "a.wav")
    (tmp_path / "bad.wav").symlink_to(target)
    with pytest.raises(SongsError, match=r"bad.wav: not a file, or a broken link; fix or remove it$"):
        read_folder(tmp_path, validation=0)


def test_links_to_files_are_songs_and_links_to_folders_are_not_followed(tmp_path: Path) -> None:
    fill(tmp_path, "songs/a.wav", "elsewhere/b.wav")
    for name in ("first", "second"):
        (tmp_path / "songs" / f"{name}.wav").symlink_to("../elsewhere/b.wav")
    (tmp_path / "songs" / "circle").symlink_to("..")
    (tmp_path / "songs" / "outside").symlink_to("../elsewhere")
    assert [song.song_id for song in read_folder(tmp_path / "songs", validation=0)] == ["a", "first", "second"]
