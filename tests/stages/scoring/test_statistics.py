"""Statistics of a batch, checked by hand."""

import pytest

from stages.scoring.rows import SongScore
from stages.scoring.statistics import OVERALL, best, by_group, distributions, mean_intervals

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


def test_intervals_of_the_means_of_groups() -> None:
    few = [SongScore(song_id=str(number), path="", group="few", scores={"A": 3.0, "B": 1.0}) for number in range(4)]
    found = mean_intervals([*ROWS, FAILED, *few])
    assert list(found) == ["even", "odd", "few"]
    assert found["few"] == {}
    low, high = found["even"]["A"]
    # 11 songs with a standard deviation of 0.63: ± 1.96 · 0.63 / √11.
    assert (low, high) == pytest.approx((1 - 0.37, 1 + 0.37), abs=0.05)
    assert found["even"]["B"] == (5.0, 5.0)
    assert found["even"][OVERALL] == pytest.approx(((low + 5) / 2, (high + 5) / 2))
    assert list(mean_intervals([SongScore(song_id="1", path="", scores={"A": 3.0})] * 5)[""]) == ["A"]


def test_best_songs() -> None:
    assert [row.song_id for row in best([FAILED, *ROWS], 2)] == ["20", "19"]
