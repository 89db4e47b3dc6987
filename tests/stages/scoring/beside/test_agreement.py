"""Rank correlations between models, the songs on which they differ, and the report's data."""

import json

import pytest

from stages.scoring.beside.agreement import agreement, beside_columns, beside_json, disagreements
from stages.scoring.files import write_csv, write_json
from stages.scoring.page.document import report_html
from stages.scoring.rows import SongScore

OURS = [(1, 4), (2, 3), (3, 2), (4, 1), (5, 5)]


def rows() -> list[SongScore]:
    found = [
        SongScore(
            song_id=f"s{number}",
            path="",
            scores={"Clarity": float(clarity), "Musicality": float(musicality)},
            beside={"box": {"CE": 2.0 * clarity, "PQ": 7.0}, "f": {"up": 10.0 - number}},
        )
        for number, (clarity, musicality) in enumerate(OURS)
    ]
    return [*found, SongScore(song_id="bad", path="", error="no"), failed_beside()]


def failed_beside() -> SongScore:
    return SongScore(
        song_id="half", path="", scores={"Clarity": 9.0, "Musicality": 9.0}, beside_errors={"box": "one\ttwo"}
    )


def test_rank_correlations_use_songs_with_both_scores() -> None:
    found = agreement(rows())
    assert list(found) == ["box", "f"]
    # Musicality's ranks against Clarity's: 1 - 6 * 20 / (5 * 24).
    assert found["box"]["CE"] == pytest.approx({"Clarity": 1.0, "Musicality": 0.0, "Mean": 0.7071}, abs=1e-4)
    assert found["box"]["PQ"] == {"Clarity": None, "Musicality": None, "Mean": None}
    assert found["f"]["up"]["Clarity"] == pytest.approx(-1)
    assert agreement(rows()[:2]) == {}


def test_the_largest_disagreements_come_first() -> None:
    worst, *_ = disagreements(rows(), "f")
    # Best by our mean, last by `up`.
    assert (worst.row.song_id, worst.ours, worst.theirs, worst.songs) == ("s4", 1.0, 5.0, 5)
    assert len(disagreements(rows(), "f", most=1)) == 1
    assert disagreements(rows(), "none") == disagreements(rows()[:2], "f") == []


def test_report_and_files_have_the_other_models(tmp_path) -> None:
    found = beside_json(rows(), {"box": (1.0, 10.0)})
    assert found["box"]["CE"] == {"scale": [1.0, 10.0], "srcc": {"Clarity": 1.0, "Musicality": 0.0, "Mean": 0.7071}}
    assert found["f"]["up"]["scale"] is None
    assert '"beside": {"box": {"CE": {"scale": [1.0, 10.0]' in report_html(rows(), ["Clarity"], beside=found)
    assert beside_columns(rows()) == [("box", "CE"), ("box", "PQ"), ("f", "up")]
    write_csv(tmp_path / "a.csv", rows(), ["Clarity"])
    lines = (tmp_path / "a.csv").read_text().splitlines()
    assert lines[0].endswith(",caution,box.CE,box.PQ,f.up")
    assert lines[1].endswith(",2.000000,7.000000,10.000000")
    assert lines[-1].endswith(",,,")
    write_json(tmp_path / "a.json", rows())
    first, *_, half = json.loads((tmp_path / "a.json").read_text())
    assert first["beside"] == {"box": {"CE": 2.0, "PQ": 7.0}, "f": {"up": 10.0}}
    assert half["warning"] == "box gave no scores: one\ttwo"


def test_rows_survive_a_journal() -> None:
    for row in rows():
        assert SongScore.from_json(json.loads(json.dumps(row.to_json()))) == row
