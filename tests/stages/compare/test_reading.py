"""Score files read back, and inputs recognised by content."""

import json
from contextlib import closing
from pathlib import Path

import pytest

from stages.compare.inputs import are_scores
from stages.compare.reading import read_scores
from stages.scoring.errors import ScoringError
from stages.scoring.files import write_csv, write_json
from stages.scoring.journal import Journal
from stages.scoring.rows import SongScore

NAMES = ("Coherence", "Musicality")
SCORES = {"Coherence": 3.25, "Musicality": 4.0}


def song(name: str, **more: object) -> SongScore:
    return SongScore(song_id=name, path=f"{name}.wav", scores=SCORES, **more)  # type: ignore[arg-type]


ROWS = [
    song("=good\n\u2028", group="ä", spread={"Coherence": 0.5, "Musicality": 0.25}),
    SongScore(song_id="bad", path="bad.wav", error="is empty (0 bytes)"),
    song("silent", loudest=-140.0),
    song("quiet", loudest=-91.0),
    song("cut", damage={"truncated": True, "missing": 3.5, "skipped": 2}),
    song("holes", damage={"truncated": True}, caution="trained on the demo"),
    song("far", novelty=1.5),
    song("edge", novelty=1.0001),
]


def test_every_file_gives_the_songs_their_scores_and_their_warnings(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", ROWS)
    write_csv(tmp_path / "a.csv", ROWS, NAMES)
    with closing(Journal(tmp_path / "a.jsonl", fresh=True)) as journal:
        for row in ROWS:
            journal.add(row)
    for path in sorted(tmp_path.iterdir()):
        found = read_scores(path)
        assert [(row.song_id, row.scores, row.error, row.caution) for row in found] == [
            (row.song_id, row.scores, row.error, row.caution) for row in ROWS
        ]
        assert [row.warnings for row in found] == [row.warnings for row in ROWS]
    assert read_scores(tmp_path / "a.jsonl") == ROWS
    assert [(row.group, row.spread) for row in read_scores(tmp_path / "a.csv")] == [(r.group, r.spread) for r in ROWS]


def test_the_last_line_of_a_song_counts(tmp_path: Path) -> None:
    lines = [json.dumps(row.to_json()) for row in (song("a"), song("b"), song("a", seconds=2.0))]
    (tmp_path / "a.jsonl").write_text("\n".join(lines) + "\n")
    assert [(row.song_id, row.seconds) for row in read_scores(tmp_path / "a.jsonl")] == [("a", 2.0), ("b", None)]


def test_columns_with_a_point_are_of_other_models(tmp_path: Path) -> None:
    text = "song_id,path,group,Clarity,Clarity_std,novelty,v1.other.CE\na,a.wav,,3.5,,,7.25\nb,b.wav,,3,,,\n"
    (tmp_path / "a.csv").write_text(text)
    first, second = read_scores(tmp_path / "a.csv")
    assert (first.scores, first.beside) == ({"Clarity": 3.5}, {"v1.other": {"CE": 7.25}})
    assert (second.scores, second.beside) == ({"Clarity": 3.0}, {})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has no songs|found a first line"),
        ("[]", "has no songs"),
        ("[{", "it is not JSON"),
        ("[1]", "song 1: expected a row of scores, found 1"),
        ('{"song_id": "a", "path": "", "scores": {}}\n{"song_id"', "line 2: cannot be read"),
        ('{"song_id": 1, "path": "", "scores": {}}', "line 1: expected a row of scores"),
        ("name,score\na,1\n", "found a first line 'name,score'"),
        ("song_id,path,group,Clarity,Clarity_std\na,b,c\n", "line 2: has 3 cells, expected 5"),
        ("song_id,path,group,Clarity,Clarity_std\na,b,c,high,\n", "line 2: could not convert"),
        ("song_id,path,group,Clarity,Clarity_std\na,b,c,nan,\n", "line 2: Clarity is nan, expected a finite number"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "a").write_text(text)
    with pytest.raises(ScoringError, match=message):
        read_scores(tmp_path / "a")


def test_inputs_are_recognised_by_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_json(Path("scores"), ROWS)
    Path("head.pth").write_bytes(b"PK\x03\x04")
    Path("run").mkdir()
    assert are_scores(["scores", "scores"])
    assert not are_scores(["head.pth", "run", "owner/name"])
    with pytest.raises(ScoringError, match="scores has scores and run is a head: compare score files, or heads"):
        are_scores(["scores", "run"])
    with pytest.raises(ScoringError, match=r"score\.csv: no such score file; expected its --json, --csv or --jsonl"):
        are_scores(["score.csv"])
    Path("other.csv").write_text("a,b\n")
    with pytest.raises(ScoringError, match=r"other\.csv: is not a file of hear-head predict; .* --jsonl$"):
        are_scores(["other.csv"])
