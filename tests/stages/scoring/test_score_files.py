"""Score files and the journal: their exact content."""

import csv
import json
import os
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.common.csv_text import read_rows
from stages.scoring.errors import ScoringError
from stages.scoring.files import (
    check_outputs,
    check_scp_ids,
    write_csv,
    write_json,
    write_scp,
)
from stages.scoring.inputs import InputSong
from stages.scoring.journal import Journal, read_journal, resume_key
from stages.scoring.over_time import Curve
from stages.scoring.rows import SongScore

GOOD = SongScore(
    song_id="sö\u2028ng",
    path="a/sö\u2028ng.mp3",
    scores={"Coherence": 3.25, "Musicality": 4.0},
    spread={"Coherence": 0.5, "Musicality": 0.25},
    novelty=1.5,
    seconds=61.0,
    curve=Curve(seconds=(5.0, 7.0), window=10.0, hop=2.0, scores={"Coherence": (3.0, 3.5), "Musicality": (4.0, 4.0)}),
    source="sha256:aa",
    model="sha256:bb",
)
BAD = SongScore(song_id="b", path="b.mp3", error="is empty (0 bytes)", source="sha256:cc", model="sha256:bb")


def test_json_has_scores_and_warnings(tmp_path: Path) -> None:
    write_json(tmp_path / "new" / "scores.json", [GOOD, BAD])
    assert json.loads((tmp_path / "new" / "scores.json").read_text(encoding="utf-8")) == [
        {
            "song_id": GOOD.song_id,
            "path": GOOD.path,
            "scores": {"Coherence": 3.25, "Musicality": 4.0},
            "warning": GOOD.warning,
        },
        {"song_id": "b", "path": "b.mp3", "scores": {}, "error": "is empty (0 bytes)"},
    ]


def test_csv(tmp_path: Path) -> None:
    write_csv(tmp_path / "scores.csv", [GOOD, BAD], ["Coherence", "Musicality"])
    lines = (tmp_path / "scores.csv").read_text(encoding="utf-8").split("\n")
    header = "song_id,path,group,Coherence,Musicality,Coherence_std,Musicality_std,novelty,warning,error"
    header += ",loudest_dbfs,caution"
    assert lines[0].strip() == header
    assert lines[1].startswith("sö\u2028ng,a/sö\u2028ng.mp3,,3.250000,4.000000,0.500000,0.250000,1.500000,")
    assert "novelty 1.50" in lines[1]
    assert lines[2].strip() == "b,b.mp3,,,,,,,,is empty (0 bytes),,"
    doubtful = replace(GOOD, song_id="a", novelty=None, loudest=-140.0, caution="trained on the demo: no")
    write_csv(tmp_path / "scores.csv", [doubtful], ["Coherence", "Musicality"])
    with (tmp_path / "scores.csv").open(encoding="utf-8", newline="") as file:
        (row,) = csv.DictReader(file)
    assert row["warning"].startswith("silence: ")
    assert (row["loudest_dbfs"], row["caution"], row["novelty"]) == ("-140.0", "trained on the demo: no", "")


def test_json_has_a_caution_if_there_is_one(tmp_path: Path) -> None:
    write_json(tmp_path / "scores.json", [replace(GOOD, caution="no")])
    (row,) = json.loads((tmp_path / "scores.json").read_text(encoding="utf-8"))
    assert list(row) == ["song_id", "path", "scores", "caution", "warning"]
    assert row["caution"] == "no"


def test_scp_is_the_challenges_format(tmp_path: Path) -> None:
    five = SongScore(song_id="mg-1", path="", scores={"A": 1.0, "B": 2.5, "C": 3.0, "D": 4.0, "E": 5.0})
    one = SongScore(song_id="mg-2", path="", scores={"Musicality": 3.123456789})
    write_scp(tmp_path / "scores.scp", [five, BAD, one])
    text = "mg-1 1.000000 2.500000 3.000000 4.000000 5.000000\nmg-2 3.123457\n"
    assert (tmp_path / "scores.scp").read_text() == text


def test_scp_needs_distinct_ids_without_white_space() -> None:
    check_scp_ids([InputSong("a", Path("a.mp3")), InputSong("b", None)])
    with pytest.raises(ScoringError, match="song id 'a b' contains white space"):
        check_scp_ids([InputSong("a b", None)])
    with pytest.raises(ScoringError, match=r"x/a.mp3 and y/a.mp3 have the same song id"):
        check_scp_ids([InputSong("a", Path("x/a.mp3")), InputSong("a", Path("y/a.mp3"))])


def test_a_journal_grows_line_by_line_and_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "scores.jsonl"
    journal = Journal(path, fresh=True)
    journal.add(GOOD)
    assert path.read_text(encoding="utf-8").count("\n") == 1
    journal.add(BAD)
    journal.close()
    # Scores are kept; failed songs are scored again.
    assert read_journal(path) == {resume_key(GOOD.song_id, GOOD.path, GOOD.source, GOOD.model): GOOD}
    with path.open("a", encoding="utf-8") as file:
        file.write('{"song_id": "cut o')
    again = Journal(path, fresh=False)
    again.add(GOOD)
    again.close()
    assert len(read_journal(path)) == 1
    assert path.read_text(encoding="utf-8").count("\n") == 4
    Journal(path, fresh=True).close()
    assert read_journal(path) == {}
    assert read_journal(tmp_path / "none.jsonl") == {}


def test_a_song_that_fails_with_the_same_error_adds_no_line(tmp_path: Path) -> None:
    path = tmp_path / "scores.jsonl"
    other = replace(BAD, error="is no audio")
    for rows, fresh in (((BAD, GOOD), True), ((BAD,), False), ((other,), False), ((BAD,), False), ((GOOD,), False)):
        with closing(Journal(path, fresh=fresh)) as journal:
            for row in rows:
                journal.add(row)
    errors = [json.loads(line).get("error", "") for line in path.read_text(encoding="utf-8").split("\n") if line]
    assert errors == [BAD.error, "", other.error, BAD.error, ""]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this machine")
def test_a_full_disk_while_songs_are_scored_gives_one_line(tmp_path: Path) -> None:
    (tmp_path / "scores.jsonl").symlink_to("/dev/full")

    def score() -> None:
        with closing(Journal(tmp_path / "scores.jsonl", fresh=True)) as journal:
            journal.add(GOOD)

    with pytest.raises(ScoringError, match=r"scores\.jsonl: cannot be written: No space left on device"):
        score()


@contextmanager
def pipe_read(path: Path) -> Iterator[Callable[[], bytes]]:
    """A pipe with a reader; returns a function that returns the bytes written to it."""
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        yield lambda: os.read(reader, 10_000)
    finally:
        os.close(reader)


def test_a_pipe_is_written_to_and_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    with pipe_read(path) as written:
        check_outputs({"--csv": path}, {})
        write_csv(path, [GOOD], ["Coherence", "Musicality"])
        assert written().startswith(b"song_id,path,group,")
        write_json(path, [BAD])
        assert json.loads(written())[0]["error"] == BAD.error
        # A pipe has nothing to resume, and reading it would block for ever.
        assert read_journal(path) == {}
        with closing(Journal(path, fresh=False)) as journal:
            journal.add(BAD)
        assert json.loads(written())["error"] == BAD.error
    assert path.is_fifo()
    assert list(tmp_path.iterdir()) == [path]


def test_a_link_stays_and_its_target_is_replaced(tmp_path: Path) -> None:
    target, link = tmp_path / "far" / "scores.json", tmp_path / "near.json"
    target.parent.mkdir()
    target.write_text("old")
    link.symlink_to(target)
    check_outputs({"--json": link}, {})
    write_json(link, [BAD])
    assert link.is_symlink()
    assert json.loads(target.read_text())[0]["song_id"] == "b"


def test_novelty_just_above_1_is_shown_as_above_1_and_survives_the_file() -> None:
    row = replace(GOOD, novelty=1.000001)
    assert row.warning == "unlike the training songs: novelty more than 1.00 (99 % of those are below 1)"
    assert SongScore.from_json(row.to_json()).warning == row.warning
    assert replace(GOOD, novelty=1.0).warning == ""


def test_a_file_other_than_a_journal_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "diary.txt"
    path.write_text("dear diary\nall is well\n")
    with pytest.raises(ScoringError, match=r"expected JSON lines of scores, found other text"):
        read_journal(path)


def test_outputs_are_checked_before_anything_is_scored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check_outputs({"--csv": None, "--json": tmp_path / "a" / "x.json"}, {"--report": tmp_path / "b", "--plots": None})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]
    with pytest.raises(ScoringError, match=r"--csv .*: expected a file, found a folder"):
        check_outputs({"--csv": tmp_path}, {})
    with pytest.raises(ScoringError, match=r"--csv .*xxx: File name too long; choose another file"):
        check_outputs({"--csv": tmp_path / ("x" * 300)}, {})
    (tmp_path / "x.json").touch()
    with pytest.raises(ScoringError, match=r"--json .*x\.json: cannot be created as a folder: File exists"):
        check_outputs({"--json": tmp_path / "x.json" / "y.json"}, {})
    with pytest.raises(ScoringError, match=r"--report .*x\.json: cannot be created as a folder: File exists"):
        check_outputs({}, {"--report": tmp_path / "x.json"})
    # Tests may run as root, which may write anywhere.
    monkeypatch.setattr("os.access", lambda *about: False)
    with pytest.raises(ScoringError, match=r"--scp .*: cannot be written to"):
        check_outputs({"--scp": tmp_path / "x.scp"}, {})


def test_a_file_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "x.json").touch()
    with pytest.raises(ScoringError, match="cannot be written"):
        write_json(tmp_path / "x.json" / "y.json", [GOOD])


TEXT = st.text(st.characters(codec=None) | st.sampled_from("'=+-@;, \t\r\n\"\x1b\x9b\u202e"), max_size=12)


@given(TEXT, TEXT, TEXT, TEXT)
def test_any_text_in_score_files_reads_back(
    tmp_path_factory: pytest.TempPathFactory, song_id: str, path: str, group: str, name: str
) -> None:
    folder = tmp_path_factory.getbasetemp()
    row = SongScore(song_id=song_id, path=path, group=group, scores={name: -2.5}, error="")
    write_csv(folder / "any.csv", [row], [name])
    with (folder / "any.csv").open(encoding="utf-8", newline="") as file:
        (_, header), (_, cells) = read_rows(file)
    # Half a surrogate pair cannot be encoded: it is written as its escape.
    assert [*cells[:4], header[3]] == [
        text.encode("utf-8", "backslashreplace").decode() for text in (song_id, path, group, "-2.500000", name)
    ]
    write_json(folder / "any.json", [row])
    (back,) = json.loads((folder / "any.json").read_text(encoding="utf-8"))
    assert (back["song_id"], back["path"], back["scores"]) == (song_id, path, {name: -2.5})
    with closing(Journal(folder / "any.jsonl", fresh=True)) as journal:
        journal.add(row)
    assert list(read_journal(folder / "any.jsonl").values()) == [row]


@pytest.mark.parametrize("song_id", ["a\x1b[2Jb", "a\u202eb", "a\u200bb", "a\x7fb"])
def test_scp_refuses_ids_with_unprintable_characters(song_id: str) -> None:
    with pytest.raises(ScoringError, match=r"--scp: the song id 'a\\.*b' contains unprintable characters; rename"):
        check_scp_ids([InputSong(song_id, None)])
