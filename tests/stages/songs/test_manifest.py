"""`manifest.csv`: reading, writing, and errors with their lines."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.songs import DIMENSIONS, Manifest, Song, SongsError, read_manifest, write_manifest

HEADER = "song_id,path,split,system,Clarity,genre\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a.flac", "b.flac"):
        (tmp_path / name).touch()
    return tmp_path


def put(folder: Path, text: str, name: str = "manifest.csv") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_a_row_becomes_a_song_with_an_absolute_path(folder: Path) -> None:
    manifest = read_manifest(put(folder, HEADER + "a,a.flac,train,suno,4.25,folk\nb,./b.flac,val,,,\n"))
    first, second = manifest.songs
    assert first == Song("a", folder / "a.flac", "train", "suno", {"Clarity": 4.25}, {"genre": "folk"})
    assert second == Song("b", folder / "b.flac", "val", "", {}, {"genre": ""})


def test_written_manifests_read_back(folder: Path) -> None:
    names = [
        "a/b",
        "car\rriage",
        "\r\n",
        "\r",
        "a b",
        'quo"te',
        "new\nline",
        "emoji 🎵",
        "x" * 240,
        "Case",
        "case",
        "a_1.2",
        "a_1",
    ]
    songs = [
        Song(name, folder / "a.flac", "train", "s,1", dict.fromkeys(DIMENSIONS, 10 / 3), {"genre": "ü"})
        for name in names
    ]
    write_manifest(folder / "below" / "manifest.csv", songs)
    manifest = read_manifest(folder / "below" / "manifest.csv")
    assert manifest.songs == tuple(songs)
    assert sorted(path.name for path in (folder / "below").iterdir()) == ["manifest.csv"]


def test_byte_order_mark_and_blank_lines_are_ignored(folder: Path) -> None:
    manifest = read_manifest(put(folder, "\ufeff" + HEADER + "\na,a.flac,train,,,\n\n"))
    assert [song.song_id for song in manifest.songs] == ["a"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "is empty; expected a header with song_id, path, split"),
        (HEADER, "lists no songs"),
        ("song_id,path\na,a.flac\n", "line 1: no column split; found song_id, path"),
        (
            "song_id;path;split\na;a.flac;train\n",
            "line 1: no column song_id, .*; separate columns by commas, or use hear-data",
        ),
        ("Song_ID,path, Split\na,a.flac,train\n", "line 1: .*; write 'Song_ID' as song_id, ' Split' as split"),
        (HEADER + 'a,a.flac,train,,"4,25",\n', "line 2: expected a number .* for Clarity, found '4,25'; write 4.25"),
        ("song_id,path,split,x,x\n", "line 1: two columns are named 'x'"),
        (HEADER + "a,a.flac,train,,,\na,b.flac,val,,,\n", "line 3: song_id 'a' is already on line 2"),
        (HEADER + 'a,a.flac,train,,,"two\nlines"\nc,c.flac,val,,,\n', "line 4: .*c.flac is not a file"),
        (HEADER + "a,.,train,,,\n", "line 2: .* is not a file"),
        (HEADER + "a,a.flac,train,,5.01,\n", "line 2: expected a number from 1 to 5 for Clarity, found '5.01'"),
        (HEADER + "a,a.flac,train,,0.9,\n", "line 2: expected a number from 1 to 5 for Clarity, found '0.9'"),
        (HEADER + "a,a.flac,train,,nan,\n", "line 2: expected a number from 1 to 5 for Clarity, found 'nan'"),
        (HEADER + "a,a.flac,train,,good,\n", "line 2: expected a number from 1 to 5 for Clarity, found 'good'"),
        (HEADER + "a,a.flac,,,,\n", "line 2: expected train, val or test as split, found ''"),
        (HEADER + "a,a.flac,valid,,,\n", "line 2: expected train, val or test as split, found 'valid'"),
        (HEADER + ",a.flac,train,,,\n", "line 2: song_id is empty"),
        (HEADER + "a,,train,,,\n", "line 2: path is empty"),
        (HEADER + "a,a.flac,train\n", "line 2: expected 6 cells, as in the header, found 3"),
        (HEADER + 'a,"a.flac,train\n', "line 2: not valid CSV"),
    ],
)
def test_errors_name_file_and_line(folder: Path, text: str, problem: str) -> None:
    with pytest.raises(SongsError, match=f"manifest.csv:? {problem}"):
        read_manifest(put(folder, text))


def test_files_may_be_left_unchecked(folder: Path) -> None:
    path = put(folder, HEADER + "c,c.flac,train,,,\n")
    assert read_manifest(path, check_files=False).songs[0].path == folder / "c.flac"


def test_other_encodings_and_missing_files_are_errors(folder: Path) -> None:
    (folder / "latin.csv").write_bytes((HEADER + "ü,a.flac,train,,,\n").encode("latin-1"))
    with pytest.raises(SongsError, match="not UTF-8 text"):
        read_manifest(folder / "latin.csv")
    with pytest.raises(SongsError, match=r"none\.csv: cannot be read: No such file"):
        read_manifest(folder / "none.csv")
    with pytest.raises(SongsError, match="cannot be read: Is a directory"):
        read_manifest(folder)


def test_invalid_manifests_are_not_written(folder: Path) -> None:
    song = Song("a", folder / "a.flac", "train")
    with pytest.raises(SongsError, match=r"manifest\.csv line 3: song_id .a. is already on line 2"):
        write_manifest(folder / "manifest.csv", [song, song])
    assert not (folder / "manifest.csv").exists()


def manifest_of(folder: Path) -> Manifest:
    return read_manifest(put(folder, HEADER + "a,a.flac,train,suno,4.5,folk\nb,b.flac,val,,,\n"))


def test_an_empty_split_is_an_error_with_the_counts(folder: Path) -> None:
    manifest = manifest_of(folder)
    assert [song.song_id for song in manifest.split("val")] == ["b"]
    assert manifest.counts() == {"train": 1, "val": 1}
    with pytest.raises(SongsError, match="no song has split 'test'; found 1 train, 1 val"):
        manifest.split("test")


def test_labels_are_a_table_and_a_missing_one_is_an_error(folder: Path) -> None:
    manifest = manifest_of(folder)
    labels = manifest.labels(manifest.split("train"), ("Clarity",))
    assert labels.dtype == np.float32
    assert labels.tolist() == [[4.5]]
    with pytest.raises(SongsError, match="song 'b' has no label for Clarity"):
        manifest.labels(manifest.songs, ("Clarity",))


@pytest.mark.parametrize("column", ["clarity", "CLARITY", "Clarty"])
def test_a_misspelt_dimension_is_suggested(folder: Path, column: str) -> None:
    manifest = read_manifest(put(folder, f"song_id,path,split,system,{column}\na,a.flac,train,,4\n"))
    with pytest.raises(SongsError, match=f"no label for Clarity; did you mean column '{column}'\\? Rename it Clarity"):
        manifest.labels(manifest.songs, ("Clarity",))


def test_columns_are_text_by_song(folder: Path) -> None:
    manifest = manifest_of(folder)
    assert manifest.column("genre") == {"a": "folk"}
    assert manifest.column("Clarity") == {"a": "4.5"}
    assert manifest.column("system") == {"a": "suno"}
    with pytest.raises(SongsError, match="no column 'mood'; found system, Clarity, genre"):
        manifest.column("mood")


TEXT = st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from("'=+-@;, \t\r\n\"\x1b"), max_size=12)
NAMES = TEXT.map(lambda text: text.replace("/", "_").replace("\0", "_")).filter(lambda text: text.strip(". ") != "")


@given(st.dictionaries(TEXT.filter(bool), st.tuples(NAMES, TEXT, TEXT), min_size=1, max_size=5), TEXT)
def test_any_text_in_a_manifest_reads_back(
    tmp_path_factory: pytest.TempPathFactory, rows: dict[str, tuple[str, str, str]], column: str
) -> None:
    folder = tmp_path_factory.getbasetemp()
    column = column if column not in ("song_id", "path", "split", "system", *DIMENSIONS) else "x"
    songs = [
        Song(song_id, folder / name, "train", system, {"Clarity": 1.5}, {column: extra})
        for song_id, (name, system, extra) in rows.items()
    ]
    write_manifest(folder / "any.csv", songs)
    assert list(read_manifest(folder / "any.csv", check_files=False).songs) == songs


def test_a_spreadsheet_finds_no_formula_in_a_manifest_and_ours_are_read_with_or_without_apostrophes(
    folder: Path,
) -> None:
    songs = [Song(name, folder / "a.flac", "train", "=1+1", {}, {"@x": "-1"}) for name in ("-intro", "=cmd|'!A0")]
    write_manifest(folder / "ours.csv", songs)
    text = (folder / "ours.csv").read_text()
    assert text == "song_id,path,split,system,'@x\n'-intro,a.flac,train,'=1+1,-1\n'=cmd|'!A0,a.flac,train,'=1+1,-1\n"
    by_hand = put(folder, text.replace(",'", ",").replace("\n'", "\n"))
    assert list(read_manifest(folder / "ours.csv").songs) == list(read_manifest(by_hand).songs) == songs
