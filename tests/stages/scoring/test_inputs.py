"""Inputs → songs: each kind of input, their order, and the inputs that are refused."""

import json
import os
from pathlib import Path

import pytest

from stages.extract.audio.source import source_hash
from stages.extract.audio.waveform import AudioError
from stages.scoring.errors import ScoringError
from stages.scoring.inputs import (
    InputSong,
    chosen_split,
    expand_inputs,
    join_manifest,
    shown_names,
    store_songs,
)
from stages.songs import Song, SongsError, read_manifest, write_manifest
from store import EmbeddingStore


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a.mp3", "b.FLAC", "notes.md", "deep/er/c.wav", "[1].mp3"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path


def named(songs: list[InputSong], folder: Path) -> list[str]:
    return [os.path.relpath(str(song.path), folder) for song in songs]


def ids(*inputs: str, lines: list[str] | None = None) -> list[str]:
    return [song.song_id for song in expand_inputs(inputs, lines=lines or [])]


def test_a_folder_is_all_audio_in_and_below_it(folder: Path) -> None:
    assert named(expand_inputs([str(folder)]), folder) == ["[1].mp3", "a.mp3", "b.FLAC", "deep/er/c.wav"]


def test_files_come_once_and_in_order_and_missing_ones_are_kept(folder: Path) -> None:
    inputs = [str(folder / "b.FLAC"), str(folder / "gone.mp3"), str(folder), str(folder / "deep/../a.mp3")]
    assert named(expand_inputs(inputs), folder) == ["b.FLAC", "gone.mp3", "[1].mp3", "a.mp3", "deep/er/c.wav"]


def test_patterns(folder: Path) -> None:
    assert named(expand_inputs([f"{folder}/*.mp3"]), folder) == ["[1].mp3", "a.mp3"]
    assert named(expand_inputs([f"{folder}/**/*.wav"]), folder) == ["deep/er/c.wav"]
    assert named(expand_inputs([f"{folder}/de*"]), folder) == ["deep/er/c.wav"]
    # If a file has exactly this name, the input is the file, not a pattern.
    assert named(expand_inputs([f"{folder}/[1].mp3"]), folder) == ["[1].mp3"]
    with pytest.raises(ScoringError, match=r"\*\.ogg: no file has this name or matches"):
        expand_inputs([f"{folder}/*.ogg"])


def test_lists_and_standard_input(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "list.txt").write_text("\ufeffa.mp3\r\n\ndeep\ngone.wav\n", encoding="utf-8")
    assert named(expand_inputs([str(folder / "list.txt")]), folder) == ["a.mp3", "deep/er/c.wav", "gone.wav"]
    monkeypatch.chdir(folder)
    (folder / "deep" / "list.txt").write_text("a.mp3\n")
    assert expand_inputs(["deep/list.txt"]) == [InputSong("a", Path("a.mp3"))]
    assert expand_inputs(["-"], lines=["b.FLAC\n", "deep\n"]) == [
        InputSong("b", Path("b.FLAC")),
        InputSong("er/c", Path("deep/er/c.wav")),
    ]


def test_an_empty_list_is_refused() -> None:
    assert expand_inputs([]) == []
    with pytest.raises(ScoringError, match="-: expected paths of songs, found none"):
        expand_inputs(["-"], lines=["\n"])


def test_a_folder_without_audio_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ScoringError, match="contains no audio files"):
        expand_inputs([str(tmp_path)])


def test_a_name_that_is_not_utf8_becomes_text(tmp_path: Path) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.wav"))
    (song,) = expand_inputs([str(path)])
    assert song.song_id == r"\xff"
    assert song.shown_path == rf"{tmp_path}/\xff.wav"
    assert song.path == path


@pytest.fixture
def generated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Songs of two models with the same file names, as generators write them; the working directory."""
    for name in ("out/modelA/001.wav", "out/modelA/002.wav", "out/modelB/001.wav", "out/modelB/x/003.wav"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


ALL = ["modelA/001", "modelA/002", "modelB/001", "modelB/x/003"]


@pytest.mark.parametrize(
    ("inputs", "expected"),
    [
        (["out"], ALL),
        (["out/"], ALL),
        (["out/*"], ALL),
        (["out/**/*.wav"], ALL),
        (["out/modelA"], ["001", "002"]),
        # The same name in two folders: all ids are relative to the common folder.
        (["out/modelA", "out/modelB"], ALL),
        (["out/modelA/001.wav", "out/modelB/001.wav"], ["modelA/001", "modelB/001"]),
        (["out/modelA/001.wav", "out/modelB/x/003.wav"], ["001", "003"]),
        (["out/modelA/*.wav"], ["001", "002"]),
        (["out/mode[lm]A/*.wav"], ["modelA/001", "modelA/002"]),
        (["./out/../out/modelB"], ["001", "x/003"]),
        # A file that is named twice keeps its first id.
        (["out/modelA/002.wav", "out"], ["002", "modelA/001", "modelB/001", "modelB/x/003"]),
    ],
)
def test_the_id_is_the_path_below_the_input(generated: Path, inputs: list[str], expected: list[str]) -> None:
    assert ids(*inputs) == expected
    # The working directory does not matter.
    assert ids(*(str(generated / name) for name in inputs)) == expected


def test_ids_of_lists_and_of_files_from_python(generated: Path) -> None:
    lines = [f"out/{name}.wav" for name in ALL]
    assert ids("-", lines=lines) == ALL
    Path("out/list.txt").write_text("\n".join(f"{name}.wav" for name in ALL))
    assert ids("out/list.txt") == ALL
    assert [song.song_id for song in expand_inputs(lines)] == ALL


def test_two_files_that_differ_only_in_suffix_are_both_scored(generated: Path) -> None:
    Path("out/modelA/001.mp3").touch()
    songs = expand_inputs(["out/modelA"])
    assert [song.song_id for song in songs] == ["001", "001", "002"]
    assert shown_names(songs) == ["out/modelA/001.mp3", "out/modelA/001.wav", "002"]


def test_kaldi_and_json_lines_are_lists_in_their_order_with_their_ids(generated: Path) -> None:
    Path("out/wav.scp").write_bytes(b"\xef\xbb\xbfutt-2 modelB/001.wav\r\n\nutt-1\tmodelA/001.wav \nu \xff a.wav\n")
    songs = expand_inputs(["out/wav.scp"])
    assert [song.song_id for song in songs] == ["utt-2", "utt-1", "u"]
    assert [song.shown_path for song in songs] == ["out/modelB/001.wav", "out/modelA/001.wav", "out/\\xff a.wav"]
    rows = [
        '{"audio_filepath": "modelB/001.wav", "duration": 3.5}',
        '{"audio_path": "modelA/001.wav", "id": 7}',
        '{"path": "out/modelA/002.wav", "song_id": "mine"}',
        '{"file_name": "gone.wav", "song_id": null}',
    ]
    Path("out/list.jsonl").write_text("\n".join(rows))
    songs = expand_inputs(["out/list.jsonl"])
    assert [song.song_id for song in songs] == ["001", "7", "mine", "gone"]
    assert named(songs, generated) == ["out/modelB/001.wav", "out/modelA/001.wav", "out/modelA/002.wav", "out/gone.wav"]


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        (
            "wav.scp",
            "a x.wav\nb sox y.mp3 -t wav - |\n",
            r"wav\.scp line 2: sox y\.mp3 -t wav - \| is a command, expected a file",
        ),
        ("wav.scp", "a x.wav\nb\n", r"wav\.scp line 2: expected an id, a space and a path, found b"),
        ("wav.scp", "\n", r"wav\.scp: lists no files"),
        ("a.jsonl", '{"path": "x.wav"}\n{\n', r"a\.jsonl line 2: is not JSON"),
        (
            "a.jsonl",
            '{"text": "x.wav"}\n',
            r"a\.jsonl line 1: expected a string in path, .* or file_name$",
        ),
        ("a.jsonl", '{"path": 3}\n', r"a\.jsonl line 1: expected a string in path"),
        ("a.jsonl", "[1]\n", r"a\.jsonl line 1: expected an object, found '\[1\]'"),
    ],
)
def test_an_error_in_a_list_gives_one_line(tmp_path: Path, name: str, text: str, problem: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(SongsError, match=problem) as caught:
        expand_inputs([str(tmp_path / name)])
    assert "\n" not in str(caught.value)


def pairs(*inputs: str) -> list[tuple[str, str]]:
    return [(song.song_id, song.shown_path) for song in expand_inputs(inputs)]


def test_a_list_may_give_one_file_several_ids(generated: Path) -> None:
    a, b = "out/modelA/001.wav", "out/modelB/001.wav"
    Path("wav.scp").write_text(f"u1 {a}\nu2 {a}\nu3 {b}\nu2 {a}\n")
    listed = [("u1", a), ("u2", a), ("u3", b)]
    assert pairs("wav.scp") == listed
    # A file that is also another input keeps the list's ids and gets no third one.
    assert pairs(a, "wav.scp") == pairs("wav.scp", a) == listed
    assert pairs("out/modelA", "wav.scp") == [("002", "out/modelA/002.wav"), *listed]
    # A manifest with both ids of a file does not merge them; a file without an id from a list gets the manifest's.
    songs = [Song(song_id, Path(path).absolute(), "val", song_id) for song_id, path in listed]
    write_manifest("manifest.csv", songs)
    joined = join_manifest(expand_inputs(["wav.scp", b]), read_manifest("manifest.csv"), by="system")
    assert [(song.song_id, song.group) for song in joined] == [(name, name) for name, _ in listed]
    assert [song.song_id for song in join_manifest(expand_inputs([b]), read_manifest("manifest.csv"))] == ["u3"]


@pytest.mark.parametrize(
    ("text", "inputs", "expected"),
    [
        ("001 out/modelA/002.wav\n", ["out/modelA/001.wav"], ["modelA/001"]),
        ("001 out/modelA/002.wav\n", ["out/modelB"], ["modelB/001", "modelB/x/003"]),
        ("001 out/modelA/002.wav\nmodelB/001 gone.wav\n", ["out/modelB/001.wav"], ["out/modelB/001"]),
        # Only ids that clash change.
        ("003 out/modelA/002.wav\n", ["out/modelA/001.wav", "out/modelB/x"], ["modelA/001", "modelB/x/003"]),
        ("u out/modelA/002.wav\n", ["out/modelA/001.wav", "out/modelB/x"], ["001", "003"]),
    ],
)
def test_no_other_file_gets_a_lists_id(generated: Path, text: str, inputs: list[str], expected: list[str]) -> None:
    Path("wav.scp").write_text(text)
    given = [line.split()[0] for line in text.splitlines()]
    assert ids(*inputs, "wav.scp") == [*expected, *given]
    assert ids("wav.scp", *inputs) == [*given, *expected]


LONG = "x" * 300


@pytest.mark.parametrize("name", [f"{LONG}.mp3", f"{LONG}.txt", f"{LONG}.scp", f"{LONG}.jsonl", LONG, "a\0.wav"])
def test_a_name_that_no_file_can_have_is_a_row_with_an_error(generated: Path, name: str) -> None:
    Path("wav.scp").write_text(f"u {name}\n")
    Path("list.jsonl").write_text(json.dumps({"path": name}))
    Path("list.txt").write_text(f"{name}\n")
    Path("manifest.csv").write_text(f"song_id,path,split\na,{name},val\n")
    manifest = read_manifest("manifest.csv", check_files=False)
    for given in (name, "wav.scp", "list.jsonl", "list.txt"):
        (song,) = join_manifest(expand_inputs([given]), manifest)
        assert (song.song_id, Path(str(song.path)).name) == ("a", name)
        with pytest.raises(AudioError, match=r"cannot be read: (File name too long|embedded null byte)"):
            source_hash(Path(str(song.path)))


def groups(*inputs: str) -> list[str]:
    return [song.group for song in join_manifest(expand_inputs(inputs), None, by="folder")]


def test_songs_are_grouped_by_their_first_folder(generated: Path) -> None:
    both = ["modelA", "modelA", "modelB", "modelB"]
    assert groups("out") == groups("out/modelA", "out/modelB") == both
    # No id has a folder, but the files are in two folders.
    assert groups("out/modelA/002.wav", "out/modelB/x/003.wav") == ["modelA", "modelB"]
    Path("out/top.wav").touch()
    assert groups("out") == ["", *both]
    with pytest.raises(ScoringError, match="grouping by 'folder': all songs are in one folder; name the folder above"):
        groups("out/modelA")


def test_groups_are_folders_of_ids_unless_the_manifest_has_such_a_column(generated: Path) -> None:
    songs = [Song("mg/1", generated / "out/modelA/001.wav", "val"), Song("mlm/1", generated / "gone.wav", "val")]
    write_manifest(generated / "manifest.csv", songs)
    read = read_manifest(generated / "manifest.csv", check_files=False)
    assert [song.group for song in join_manifest([], read, by="folder")] == ["mg", "mlm"]
    (generated / "own.csv").write_text("song_id,path,split,folder\nmg/1,a.wav,val,x\n")
    own = read_manifest(generated / "own.csv", check_files=False)
    assert [song.group for song in join_manifest([], own, by="folder")] == ["x"]


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
    files = expand_inputs([f"{folder}/b.FLAC", f"{folder}/deep/er/c.wav"])
    found = join_manifest(files, read, by="system")
    assert [(song.song_id, song.group) for song in found] == [("b", ""), ("second", "mlm")]
    assert [song.song_id for song in join_manifest([], read)] == ["first", "second"]
    assert [song.song_id for song in join_manifest([], chosen_split(read, "val"))] == ["second"]
    with pytest.raises(SongsError, match="no column 'mood'"):
        join_manifest([], read, by="mood")
    with pytest.raises(ScoringError, match="'system' needs a manifest"):
        join_manifest(files, None, by="system")


def test_songs_of_a_store(store_root: str, folder: Path, manifest: Path) -> None:
    store = EmbeddingStore.open(store_root)
    names = ["short", *(f"söng {number}" for number in range(4))]
    assert [song.song_id for song in store_songs(store)] == names
    assert [song.song_id for song in store_songs(store, only=["söng 2"])] == ["söng 2"]
    found = store_songs(store, read_manifest(manifest), by="system")
    assert [(song.song_id, song.path, song.group) for song in found] == [
        ("first", folder / "a.mp3", "mg"),
        ("second", folder / "deep/er/c.wav", "mlm"),
    ]
