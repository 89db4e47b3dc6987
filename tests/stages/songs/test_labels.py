"""Tables of labels in many forms: read correctly, or refused with the likely fix."""

import json
import tempfile
import unicodedata
from collections.abc import Callable
from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.songs import Song, SongsError, write_manifest
from stages.songs.folder import read_folder

Put = Callable[..., Path]


@pytest.fixture
def put(tmp_path: Path) -> Put:
    """A function that writes a table beside a folder `songs` with the named files."""

    def write(text: str, *files: str, name: str = "labels.csv", encoding: str = "utf-8") -> Path:
        for file in files:
            path = tmp_path / "songs" / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        (tmp_path / name).write_bytes(text.encode(encoding))
        return tmp_path / name

    return write


def read(labels: Path, said: list[str] | None = None) -> dict[str, Song]:
    say = (said if said is not None else []).append
    songs = read_folder(labels.parent / "songs", labels=labels, validation=0, say=say)
    return {song.song_id: song for song in songs}


@pytest.mark.parametrize(("separator", "name"), [(",", ""), (";", "semicolons"), ("\t", "tabs")])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_separators_and_encodings(put: Put, separator: str, name: str, encoding: str, ending: str) -> None:
    rows = [("song_id", "Clarity", "mood", "a;b"), ("ä", "4", "calm", "x"), ("b", "2.5", "wild", "y")]
    text = ending.join(separator.join(f'"{cell}"' if ";" in cell else cell for cell in row) for row in rows)
    said: list[str] = []
    songs = read(put(text, "ä.wav", "b.wav", encoding=encoding), said)
    assert {name: (song.labels, song.extra) for name, song in songs.items()} == {
        "ä": ({"Clarity": 4.0}, {"mood": "calm", "a;b": "x"}),
        "b": ({"Clarity": 2.5}, {"mood": "wild", "a;b": "y"}),
    }
    assert [line for line in said if "separated" in line] == (
        [f"{put(text, encoding=encoding)}: columns are separated by {name}"] if name else []
    )
    assert said[-1].endswith("labels.csv: 2 of 2 songs; ratings of Clarity")


@pytest.mark.parametrize("separator", [";", "\t", ","])
def test_decimal_commas(put: Put, separator: str) -> None:
    cell = '"3,75"' if separator == "," else "3,75"
    rows = [("song_id", "Clarity", "bpm"), ("a", cell, "120"), ("b", "4", "90")]
    songs = read(put("\n".join(map(separator.join, rows)), "a.wav", "b.wav"))
    assert [song.labels["Clarity"] for song in songs.values()] == [3.75, 4.0]
    with pytest.raises(SongsError, match=r"line 2: expected 2 cells.*found 3; write numbers with a point \(3\.5\), or"):
        read(put("song_id,Clarity\na,3,75\n"))


@pytest.mark.parametrize(
    ("values", "read_as"),
    [
        (["90,5", "120"], ["90.5", "120"]),
        (["-0,25", ""], ["-0.25", ""]),
        # These may be thousands, or text.
        (["1,234", "2,000"], ["1,234", "2,000"]),
        (["1,5", "x"], ["1,5", "x"]),
        (["a, b", "1,5"], ["a, b", "1,5"]),
        (["1", "2"], ["1", "2"]),
    ],
)
@pytest.mark.parametrize("separator", [";", "\t"])
def test_decimal_commas_in_other_columns(put: Put, separator: str, values: list[str], read_as: list[str]) -> None:
    rows = [("song_id", "bpm"), ("a", values[0]), ("b", values[1])]
    songs = read(put("\n".join(map(separator.join, rows)), "a.wav", "b.wav"))
    assert [song.extra["bpm"] for song in songs.values()] == read_as
    quoted = "\n".join(",".join(f'"{cell}"' for cell in row) for row in rows)
    assert [song.extra["bpm"] for song in read(put(quoted)).values()] == values


@pytest.mark.parametrize("column", ["song_id", "path", "File Name", "id", "file", "filename", "audio_filepath"])
@pytest.mark.parametrize("separator", [";", "\t"])
def test_a_comma_in_a_name_stays(put: Put, column: str, separator: str) -> None:
    rows = [(column, "Clarity", "system", "bpm"), ("1,5", "3", "3,5", "90,5"), ("2,25", "4,5", "4,5", "100")]
    songs = read(put("\n".join(map(separator.join, rows)), "1,5.wav", "1.5.wav", "2,25.wav", "2.25.wav"))
    rated = {name: (dict(song.labels), song.system, song.extra["bpm"]) for name, song in songs.items() if song.labels}
    assert rated == {"1,5": ({"Clarity": 3.0}, "3,5", "90.5"), "2,25": ({"Clarity": 4.5}, "4,5", "100")}


def test_empty_rows_and_columns_are_ignored(put: Put) -> None:
    songs = read(put("song_id;Clarity;;\na;3;;\n;;;\nb;4;;\n", "a.wav", "b.wav"))
    assert [song.labels["Clarity"] for song in songs.values()] == [3.0, 4.0]
    assert songs["a"].extra == {}


@pytest.mark.parametrize("written", ["clarity", " CLARITY ", "cLaRiTy"])
def test_dimensions_in_any_case(put: Put, written: str) -> None:
    said: list[str] = []
    songs = read(put(f"Song ID,{written},System\na,3,suno\n", "a.wav"), said)
    assert (songs["a"].labels, songs["a"].system, songs["a"].extra) == ({"Clarity": 3.0}, "suno", {})
    assert any(line.endswith(f"column {written.strip()!r} is Clarity") for line in said)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("Coherance", "Coherence"),
        ("musicalty", "Musicality"),
        ("Memorabillity", "Memorability"),
        ("Clarty", "Clarity"),
        ("natturalness", "Naturalness"),
    ],
)
def test_a_misspelt_dimension_is_refused(put: Put, written: str, meant: str) -> None:
    with pytest.raises(
        SongsError, match=rf"line 1: column '{written}' is not a dimension; did you mean {meant}\? Rename"
    ):
        read(put(f"song_id,{written}\na,3\n", "a.wav"))
    # If the dimension itself is present, it is a normal column.
    songs = read(put(f"song_id,{written},{meant}\na,x,3\n"))
    assert songs["a"].extra == {written: "x"}


IDS = ["path", "audio_path", "audio_filepath", "file_name", "File Name", "id", "file", "filename", "song_id"]


@pytest.mark.parametrize("column", IDS)
@pytest.mark.parametrize("jsonl", [False, True])
def test_columns_that_name_songs(put: Put, column: str, jsonl: bool) -> None:
    row = {column: "m/a.wav", "Clarity": 3.5, "note": None}
    if jsonl:
        labels = put(json.dumps(row) + "\n\n", "m/a.wav", "b.wav", name="labels.jsonl")
    else:
        labels = put(f"{column},Clarity,note\nm/a.wav,3.5,\n", "m/a.wav", "b.wav")
    songs = read(labels)
    assert (songs["m/a"].labels, songs["m/a"].extra) == ({"Clarity": 3.5}, {"note": ""})
    assert songs["b"].labels == {}


def test_two_columns_that_may_name_songs(put: Put) -> None:
    songs = read(put("id,path,Clarity\n9,a.wav,3\n", "a.wav"))
    assert songs["a"].extra == {"id": "9"}
    with pytest.raises(SongsError, match="id and file may both name songs: rename one to song_id"):
        read(put("id,file,Clarity\n9,a.wav,3\n"))


FILES = ("modelA/001.wav", "modelA/002.x.flac", "modelB/001.wav", "modelB/7.mp3", "top.wav")


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("modelA/001", "modelA/001"),
        ("modelA/001.wav", "modelA/001"),
        ("./modelA/001.wav", "modelA/001"),
        ("modelA\\001.wav", "modelA/001"),
        ("songs/modelA/001.wav", "modelA/001"),
        ("/data/of/others/songs/modelA/001.mp3", "modelA/001"),
        ("D:\\songs\\modelA\\001.wav", "modelA/001"),
        (" modelA/001 ", "modelA/001"),
        ("modelA/1", "modelA/001"),
        ("002.x", "modelA/002.x"),
        ("002.x.flac", "modelA/002.x"),
        ("7", "modelB/7"),
        ("007", "modelB/7"),
        ("modelB/0007.mp3", "modelB/7"),
        ("top", "top"),
        ("songs/top.wav", "top"),
        ("modelA/../top.wav", "top"),
    ],
)
def test_a_song_may_be_named_with_or_without_folder_suffix_and_zeros(put: Put, written: str, meant: str) -> None:
    songs = read(put(f'song_id,Clarity\n"{written}",3\n', *FILES))
    assert [name for name, song in songs.items() if song.labels] == [meant]


@pytest.mark.parametrize(
    ("written", "problem"),
    [
        ("001", "'001' may be 'modelA/001' or 'modelB/001'; write the full id or path"),
        ("1.wav", "'1.wav' may be 'modelA/001' or 'modelB/001'; write the full id or path"),
        ("modelC/001", r"'modelC/001' is not an audio file in .*songs; did you mean model[AB]/001\?"),
        ("elsewhere/top", r"'elsewhere/top' is not an audio file in .*songs; did you mean top\?"),
        (
            "/data/others/modelA/001",
            r"'/data/others/modelA/001' is not an audio file in .*; did you mean model[AB]/001\?",
        ),
        ("Top", r"'Top' is not an audio file in .*songs; did you mean top\?"),
        ("modelA/002", r"'modelA/002' is not an audio file in .*songs; did you mean modelA/00"),
        ("../top.wav", r"'\.\./top\.wav' is not an audio file in"),
        ("quite another", "'quite another' is not an audio file in .*songs; correct it or remove the line"),
        ("", "'' is not an audio file in"),
    ],
)
def test_ambiguous_names_are_refused_with_suggestions(put: Put, written: str, problem: str) -> None:
    with pytest.raises(SongsError, match=rf"labels\.csv line 2: song_id {problem}"):
        read(put(f"song_id,Clarity\n{written},3\n", *FILES))


def test_an_exact_id_is_never_another_song(put: Put) -> None:
    songs = read(put("song_id,Clarity\n7,1\n007,2\n", "7.wav", "007.wav", "a/7.wav", "a/007.wav"))
    assert {name: dict(song.labels) for name, song in songs.items() if song.labels} == {
        "7": {"Clarity": 1.0},
        "007": {"Clarity": 2.0},
    }
    with pytest.raises(SongsError, match="'07' may be '007' or '7'"):
        read(put("song_id,Clarity\n07,1\n"))


@pytest.mark.parametrize("cwd", ["", "mA", "mB"])
def test_the_working_directory_does_not_matter(put: Put, monkeypatch: pytest.MonkeyPatch, cwd: str) -> None:
    labels = put("file,Clarity\n001.wav,3\n", "mA/001.wav", "mB/001.wav")
    monkeypatch.chdir(labels.parent / "songs" / cwd)
    with pytest.raises(SongsError, match=r"line 2: file '001\.wav' may be 'mA/001' or 'mB/001'; write the full"):
        read(labels)
    put(f"file,Clarity\n{labels.parent / 'songs/mB/001.wav'},3\nmA/001.wav,2\n")
    assert {name: song.labels["Clarity"] for name, song in read(labels).items()} == {"mA/001": 2.0, "mB/001": 3.0}


def test_a_path_relative_to_table_and_songs_must_match_one_song(put: Put) -> None:
    labels = put("file,Clarity\n001.wav,3\n", "mA/001.wav", "mB/001.wav", name="songs/mB/labels.csv")
    songs = {song.song_id: song for song in read_folder(labels.parents[1], labels=labels, validation=0)}
    assert {name for name, song in songs.items() if song.labels} == {"mB/001"}
    put("", "001.wav")
    with pytest.raises(SongsError, match=r"line 2: file '001\.wav' may be '001' or 'mB/001'; write the full"):
        read_folder(labels.parents[1], labels=labels, validation=0)


def test_a_path_of_two_songs_is_ambiguous(put: Put) -> None:
    scp = put("u1 songs/a.wav\nu2 songs/a.wav\n", "a.wav", name="wav.scp")
    with pytest.raises(SongsError, match=r"line 2: path 'songs/a\.wav' may be 'u1' or 'u2'; write the full id"):
        read_folder(scp, labels=put("path,Clarity\nsongs/a.wav,3\n"), validation=0)


NUMBERED = ("001.wav", "002.wav", "003.wav")


def rated(labels: Path, said: list[str] | None = None) -> dict[str, float]:
    return {name: song.labels["Clarity"] for name, song in read(labels, said).items() if song.labels}


@pytest.mark.parametrize("column", ["path", "audio_path", "audio_filepath", "file_name", "file", "filename"])
def test_paths_are_used_if_no_id_matches(put: Put, column: str) -> None:
    said: list[str] = []
    labels = put(f"song_id,{column},Clarity\n1,003.wav,3\n2,001.wav,4\n3,002.wav,5\n", *NUMBERED)
    assert rated(labels, said) == {"003": 3.0, "001": 4.0, "002": 5.0}
    assert said[:2] == [
        f"{labels}: no song_id matches a song exactly",
        f"{labels}: column {column!r} names the songs",
    ]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        # An id that is a song's, and a path that is another's.
        ("song_id,path,Clarity\n001,003.wav,3\n", "line 2: song_id '001' is '001', but path '003.wav' is '003'"),
        ("song_id,path,Clarity\n1,001.wav,3\n002,003,3\n", "line 3: song_id '002' is '002', but path '003' is '003'"),
        ("song_id,path,Clarity\n001.wav,003.wav,3\n", r"line 2: song_id '001\.wav' is '001', but path"),
        # Not all paths are songs.
        ("song_id,path,Clarity\n1,gone.wav,3\n2,003.wav,3\n", "line 3: song_id '2' is '002', but path"),
        ("path,file_name,Clarity\n001.wav,003.wav,3\n", r"line 2: path '001\.wav' is '001', but file_name '003\.wav'"),
    ],
)
def test_an_id_and_a_path_of_two_songs_are_refused(put: Put, text: str, problem: str) -> None:
    with pytest.raises(SongsError, match=problem):
        read(put(text, *NUMBERED))


def test_id_and_path_of_the_same_song_may_differ_in_form(put: Put) -> None:
    assert rated(put("song_id,path,file_name,Clarity\n1,gone,003.wav,3\n", *NUMBERED)) == {"003": 3.0}
    # Paths of another machine mean nothing here; a path may distinguish songs that an id does not, or replace the id.
    assert rated(put("song_id,path,Clarity\n001,/data/x.wav,3\n2,/data/y.wav,4\n", *NUMBERED)) == {"001": 3, "002": 4}
    both = put("song_id,path,Clarity\n001,b/001.wav,3\n,a/001.wav,4\n003,003.wav,5\n", "a/001.wav", "b/001.wav")
    (both.parent / "songs/001.wav").unlink()
    assert rated(both) == {"b/001": 3.0, "a/001": 4.0, "003": 5.0}


@pytest.mark.parametrize("place", ["manifest.csv", "songs/manifest.csv", "elsewhere/manifest.csv"])
@pytest.mark.parametrize("audio", ["songs", "songs/m", "wav.scp"])
@pytest.mark.parametrize("again", ["songs", "songs/m", "wav.scp"])
def test_a_manifest_serves_as_labels(put: Put, tmp_path: Path, place: str, audio: str, again: str) -> None:
    put("u1 songs/m/1.wav\nu2 songs/m/02.wav\n", "m/1.wav", "m/02.wav", name="wav.scp")
    songs = read_folder(tmp_path / audio, validation=0)
    ratings = {"1.wav": 2.0, "02.wav": 4.5}
    write_manifest(tmp_path / place, [replace(song, labels={"Clarity": ratings[song.path.name]}) for song in songs])
    found = read_folder(tmp_path / again, labels=tmp_path / place, validation=0)
    assert {song.path.name: song.labels["Clarity"] for song in found} == ratings


def test_a_manifest_whose_ids_are_other_songs_files(put: Put, tmp_path: Path) -> None:
    swapped = put("02 songs/m/1.wav\n1 songs/m/02.wav\n", "m/1.wav", "m/02.wav", name="wav.scp")
    songs = read_folder(swapped, validation=0)
    write_manifest(
        tmp_path / "manifest.csv",
        [replace(song, labels={"Clarity": 2.0 if song.song_id == "1" else 4.0}) for song in songs],
    )
    found = read_folder(tmp_path / "songs", labels=tmp_path / "manifest.csv", validation=0)
    assert {song.song_id: song.labels["Clarity"] for song in found} == {"m/1": 4.0, "m/02": 2.0}
    with pytest.raises(
        SongsError, match=r"line 2: song_id '02' is '02', but path 'songs/m/1\.wav' is '1'; correct one"
    ):
        read_folder(tmp_path / "songs/m", labels=tmp_path / "manifest.csv", validation=0)


def test_a_lists_id_may_be_another_songs_file(put: Put) -> None:
    scp = put("7 songs/a.wav\n8 songs/7.wav\n", "a.wav", "7.wav", name="wav.scp")
    for place in ("labels.csv", "songs/labels.csv"):
        labels = put("path,Clarity\nsongs/7.wav,3\n", name=place)
        assert [song.song_id for song in read_folder(scp, labels=labels, validation=0) if song.labels] == ["8"]
    labels = put("path,Clarity\n7.wav,3\n")
    with pytest.raises(SongsError, match=r"line 2: path '7\.wav' may be '7' or '8'; write the full id or path"):
        read_folder(scp, labels=labels, validation=0)


def test_one_message_counts_all_lines_without_a_song(put: Put) -> None:
    lines = [f"other {number},3" for number in range(13)]
    with pytest.raises(SongsError, match=r"line 3: song_id 'other 0' is not .*; .* \(12 more lines match no file\)$"):
        read(put("\n".join(["song_id,Clarity", "top,3", *lines]), *FILES))
    with pytest.raises(SongsError, match=r"\(1 more line matches no file\)$"):
        read(put("\n".join(["song_id,Clarity", *lines[:2]])))


@pytest.mark.parametrize(("file", "written"), list(product(["NFC", "NFD"], repeat=2)))
def test_names_in_either_form_of_unicode(put: Put, file: str, written: str) -> None:
    file_name, text = unicodedata.normalize(file, "modèle/sö.wav"), unicodedata.normalize(written, "modèle/sö")
    (song,) = read(put(f"song_id,Clarity\n{text},3\n", file_name)).values()
    assert song.labels == {"Clarity": 3.0}


def test_json_lines_keep_values_as_text_and_errors_their_line(put: Put) -> None:
    rows = [{"file_name": "a.wav", "Clarity": 4, "tempo": 90.5, "live": True, "tags": ["x"]}, {"file_name": "b.wav"}]
    songs = read(put("\n".join(map(json.dumps, rows)), "a.wav", "b.wav", name="metadata.jsonl"))
    assert songs["a"].extra == {"tempo": "90.5", "live": "true", "tags": '["x"]'}
    assert songs["b"].extra == {"tempo": "", "live": "", "tags": ""}
    with pytest.raises(
        SongsError, match=r"metadata\.jsonl line 2: expected a number from 1 to 5 for Clarity, found '9'"
    ):
        read(put('{"path": "a.wav"}\n{"path": "b.wav", "Clarity": 9}', name="metadata.jsonl"))
    with pytest.raises(SongsError, match=r"metadata\.jsonl: empty file"):
        read(put("\n", name="metadata.jsonl"))
    with pytest.raises(SongsError, match=r"metadata\.jsonl line 1: is nested too deep"):
        read(put("[" * 100_000, name="metadata.jsonl"))


@pytest.mark.parametrize("name", ["metadata.csv", "metadata.jsonl"])
def test_tables_of_an_audio_folder_are_mentioned_and_read_on_request(put: Put, tmp_path: Path, name: str) -> None:
    rows = {"metadata.csv": "file_name,Clarity\nm/a.wav,4\n", "metadata.jsonl": '{"file_name":"m/a.wav","Clarity":4}'}
    put("", "m/a.wav")
    table = put(rows[name], name=f"songs/{name}")
    said: list[str] = []
    (song,) = read_folder(tmp_path / "songs", validation=0, say=said.append)
    assert song.labels == {}
    assert said == [f"{table} is ignored; name it with --labels to read its columns"]
    (song,) = read_folder(tmp_path / "songs", labels=table, validation=0)
    assert song.labels == {"Clarity": 4.0}


def test_a_list_of_files_in_place_of_a_folder(put: Put, tmp_path: Path) -> None:
    scp = put("utt1 songs/m/a.wav\nutt2 songs/n/a.wav\n", "m/a.wav", "n/a.wav", name="wav.scp")
    labels = put("song_id,Clarity\nutt2,4\nsongs/m/a.wav,2\n")
    songs = read_folder(scp, labels=labels, validation=0)
    assert [(song.song_id, song.path, dict(song.labels)) for song in songs] == [
        ("utt1", tmp_path / "songs/m/a.wav", {"Clarity": 2.0}),
        ("utt2", tmp_path / "songs/n/a.wav", {"Clarity": 4.0}),
    ]
    # JSON lines are their own table.
    rows = [{"audio_filepath": f"songs/{model}/a.wav", "Clarity": 3, "duration": 1.5} for model in "mn"]
    songs = read_folder(put("\n".join(map(json.dumps, rows)), name="list.jsonl"), validation=0)
    assert [(song.song_id, dict(song.labels), song.extra) for song in songs] == [
        (f"{model}/a", {"Clarity": 3.0}, {"duration": "1.5"}) for model in "mn"
    ]


LISTED = ("m/a.wav", "n/a.wav", "b.wav")


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        # Ids on some lines, empty ones and null: the stem is the id then.
        ([{"song_id": "x"}, {}, {}], ["x", "a", "b"]),
        ([{"song_id": "x"}, {"song_id": ""}, {"song_id": None}], ["x", "a", "b"]),
        ([{"song_id": " "}, {"id": 7}, {"song_id": None, "id": "y"}], ["a", "7", "y"]),
        ([{"Song ID": True}, {"Song ID": 1.5}, {"Song ID": "z"}], ["true", "1.5", "z"]),
        # An id from the list belongs to no other line.
        ([{"song_id": "n/a"}, {}, {"song_id": "a"}], ["n/a", "songs/n/a", "a"]),
    ],
)
@pytest.mark.parametrize("columns", [["path"] * 3, ["path", "audio_path", "file_name"], ["File Name", "id", "path"]])
def test_json_lines_are_their_own_table_line_by_line(
    put: Put, rows: list[dict[str, object]], expected: list[str], columns: list[str]
) -> None:
    named = [
        {**row, ("audio_filepath" if column == "id" else column): f"songs/{file}", "Clarity": number + 1}
        for number, (row, column, file) in enumerate(zip(rows, columns, LISTED, strict=True))
    ]
    path = put("\n\n".join(map(json.dumps, named)), *LISTED, name="list.jsonl")
    songs = read_folder(path, validation=0)
    assert [song.song_id for song in songs] == expected
    assert [song.path.relative_to(path.parent / "songs").as_posix() for song in songs] == list(LISTED)
    assert [song.labels["Clarity"] for song in songs] == [1.0, 2.0, 3.0]


def test_two_ids_of_one_file_are_two_songs(put: Put) -> None:
    rows = [{"path": "songs/a.wav", "id": name, "Clarity": rating} for name, rating in (("x", 2), ("y", 3))]
    songs = read_folder(put("\n".join(map(json.dumps, rows)), "a.wav", name="l.jsonl"), validation=0)
    assert {song.song_id: song.labels["Clarity"] for song in songs} == {"x": 2.0, "y": 3.0}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("u songs/a.wav\nv songs/gone.wav\n", r"wav\.scp line 2: .*gone\.wav is not a file; correct the path"),
        ("u songs/a.wav\nu songs/b.wav\n", r"wav\.scp line 2: song id 'u' is on an earlier line; rename one"),
        ("u sox songs/a.wav -t wav - |\n", r"wav\.scp line 1: sox .* is a command"),
    ],
)
def test_an_error_in_a_list_names_its_line(put: Put, text: str, problem: str) -> None:
    with pytest.raises(SongsError, match=problem):
        read_folder(put(text, "a.wav", "b.wav", name="wav.scp"), validation=0)


LONG = "x" * 300


@pytest.mark.parametrize("name", [LONG, f"{LONG}.scp", f"{LONG}.jsonl", "a\0"])
def test_impossible_file_names_are_refused(put: Put, tmp_path: Path, name: str) -> None:
    with pytest.raises(SongsError, match="not a folder; expected a folder of audio files or a list"):
        read_folder(tmp_path / name)
    for table in (name, f"{name}.csv", f"{name}.jsonl"):
        with pytest.raises(SongsError, match=r"cannot be read: (File name too long|embedded null byte)"):
            read_folder(put("", "a.wav").parent / "songs", labels=tmp_path / table)
    lists = {"wav.scp": f"u {name}", "list.jsonl": json.dumps({"path": name})}
    for file, text in lists.items():
        with pytest.raises(SongsError, match=rf"{file} line 1: .* is not a file; correct the path"):
            read_folder(put(text, name=file))
    with pytest.raises(SongsError, match=r"labels\.csv line 2: path .* is not an audio file in"):
        read_folder(tmp_path / "songs", labels=put(f"path,Clarity\n{name},3\n"))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "empty file; expected a header"),
        ("song_id,Clarity,clarity\na,3,3\n", "line 1: two columns are named 'Clarity'"),
        ("song_id,x,x\na,3,3\n", "line 1: two columns are named 'x'"),
        ('song_id,Clarity\n"a,3\n', "line 2: not valid CSV"),
        ("song_id,Clarity\na,good\n", "line 2: expected a number from 1 to 5 for Clarity, found 'good'"),
        ("song_id;Clarity\na;3,x\n", "line 2: expected a number from 1 to 5 for Clarity, found '3,x'"),
        ("song_id;Clarity\na;13,5\n", "line 2: expected a number from 1 to 5 for Clarity, found '13.5'"),
    ],
)
def test_errors_name_the_line(put: Put, text: str, problem: str) -> None:
    with pytest.raises(SongsError, match=rf"labels\.csv:? {problem}"):
        read(put(text, "a.wav"))
    with pytest.raises(SongsError, match=r"labels\.csv: not UTF-8 text .*save it as UTF-8"):
        read(put("song_id,Clarity\nü,3\n", encoding="latin-1"))


WORDS = [
    "song_id",
    "path",
    "id",
    "clarity",
    "a",
    "m/a",
    "007.wav",
    "3,5",
    "",
    '"',
    "..",
    "\\",
    "\0",
    "|",
    "{",
    "[1]",
    "x" * 9,
]
MARKS = [",", ";", "\t", "\n", "\r\n", "\r"]


def problem_of(audio: Path, labels: Path | None) -> str:
    """The error; empty if there is none."""
    try:
        read_folder(audio, labels=labels, validation=0)
    except SongsError as error:
        return str(error)
    return ""


@settings(max_examples=100)
@given(
    st.lists(st.sampled_from([*WORDS, *MARKS, '{"path": "a", "Clarity": "3,5"}']) | st.text(max_size=4), max_size=25),
    st.sampled_from([".csv", ".jsonl", ".scp"]),
    st.sampled_from(["utf-8", "utf-16", "utf-16-le", "latin-1"]),
)
def test_any_file_is_read_or_refused_in_one_line(words: list[str], suffix: str, encoding: str) -> None:
    with tempfile.TemporaryDirectory() as place:
        for name in ("songs/a.wav", "songs/m/a.wav", "songs/m/7.wav"):
            Path(place, name).parent.mkdir(parents=True, exist_ok=True)
            Path(place, name).touch()
        table = Path(place, f"table{suffix}")
        table.write_bytes("".join(words).encode(encoding, "replace"))
        problems = [problem_of(Path(place, "songs"), table), problem_of(table, None)]
        assert not any("\n" in problem for problem in problems)


def test_tables_with_apostrophes_are_read(put: Put) -> None:
    labels = put("song_id;'@x;Clarity\n'-intro;'=1+1;3,5\n@home;-2;4\n", "-intro.wav", "@home.wav")
    songs = read(labels)
    assert {name: (song.labels, song.extra) for name, song in songs.items()} == {
        "-intro": ({"Clarity": 3.5}, {"@x": "=1+1"}),
        "@home": ({"Clarity": 4.0}, {"@x": "-2"}),
    }
