"""Statistics of a batch, checked by hand."""

import pytest

from stages.scoring.rows import SongScore
from stages.scoring.statistics import OVERALL, best, by_group, distributions

ROWS = [
    SongScore(song_id=str(number), path="", group="odd" if number % 2 else "even", scores={"A": number / 10, "B": 5.0})
    for number in range(21)
]
FAILED = SongScore(song_id="x", path="x.mp3", error="bad")


def test_distributions() -> None:
    found = distributions([*ROWS, FAILED])
    assert list(found) == ["A", "B", OVERALL]
    a = found["A"]
    assert (a.songs, a.mean, a.median, a.p5, a.p95) == pytest.approx((21, 1.0, 1.0, 0.1, 1.9))
    assert found[OVERALL].mean == pytest.approx(3.0)
    assert distributions([FAILED]) == {}
    assert list(distributions([SongScore(song_id="1", path="", scores={"Musicality": 3.0})])) == ["Musicality"]


def test_groups_best_first() -> None:
    groups = by_group([*ROWS[1:], FAILED])
    assert list(groups) == ["even", "odd"]
    assert groups["even"]["A"].mean == pytest.approx(1.1)
    assert groups["odd"]["A"].songs == 10


def test_best_songs() -> None:
    assert [row.song_id for row in best([FAILED, *ROWS], 2)] == ["20", "19"]
