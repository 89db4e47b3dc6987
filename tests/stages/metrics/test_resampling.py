"""Metrics over bootstrap samples against a plain loop over scipy, and comparisons without pairs."""

import numpy as np
import pytest
from scipy.stats import mannwhitneyu, wilcoxon

from stages.metrics.agreement import METRICS, score_metrics
from stages.metrics.bootstrap import interval
from stages.metrics.paired import paired_difference
from stages.metrics.resampling import drawn_counts, resampled_metrics
from stages.metrics.unpaired import fewest_songs, smallest_p, songs_needed, unpaired_difference

DIMENSIONS = ("Musicality", "Clarity")


def plain_loop(ratings: np.ndarray, predicted: np.ndarray, draws: int, seed: int) -> list[dict[str, dict[str, float]]]:
    generator = np.random.default_rng(seed)
    samples = [generator.integers(len(ratings), size=len(ratings)) for _ in range(draws)]
    return [score_metrics(ratings[rows], predicted[rows], dimensions=DIMENSIONS) for rows in samples]


# With three songs, some samples are constant; steps of 0.5 give ties.
@pytest.mark.parametrize(("songs", "step"), [(3, 0.5), (40, 0.5), (40, 0.001)])
def test_metrics_equal_those_of_each_drawn_sample(songs: int, step: float) -> None:
    generator = np.random.default_rng(songs)
    ratings = generator.uniform(1, 5, (songs, 2))
    predicted = ratings + generator.normal(0, 0.7, ratings.shape)
    ratings, predicted = ((step * np.round(each / step)).astype(np.float32) for each in (ratings, predicted))
    expected = plain_loop(ratings, predicted, draws=25, seed=3)
    found = resampled_metrics(ratings, predicted, dimensions=DIMENSIONS, draws=25, seed=3)
    for name in (*DIMENSIONS, "mean"):
        for metric in METRICS:
            values = [table[name][metric] for table in expected]
            np.testing.assert_allclose(found[name][metric], values, rtol=0, atol=1e-12)


def test_parts_change_no_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(0)
    ratings, predicted = generator.uniform(1, 5, (2, 50, 2))
    whole = resampled_metrics(ratings, predicted, dimensions=DIMENSIONS, draws=20)
    monkeypatch.setattr("stages.metrics.resampling._MOST", 350)
    monkeypatch.setattr("stages.metrics.resampling._ROWS", 8)
    assert [len(part) for part in drawn_counts(50, draws=20)] == [7, 7, 6]
    parts = resampled_metrics(ratings, predicted, dimensions=DIMENSIONS, draws=20)
    for metric in METRICS:
        np.testing.assert_allclose(parts["mean"][metric], whole["mean"][metric], rtol=0, atol=1e-12)


def test_the_interval_of_pairs_is_that_of_drawn_means() -> None:
    differences = np.random.default_rng(0).normal(0.2, 1, 25)
    generator = np.random.default_rng(5)
    means = [differences[generator.integers(25, size=25)].mean() for _ in range(200)]
    found = paired_difference(differences, np.zeros(25), draws=200, seed=5)
    assert (found.low, found.high) == pytest.approx(interval(means), abs=1e-12)


def test_a_difference_of_different_songs_is_found() -> None:
    generator = np.random.default_rng(0)
    first, second = generator.normal(3.3, 0.4, 200), generator.normal(3.0, 0.4, 150)
    found = unpaired_difference(first, second)
    error = 0.4 * (1 / 200 + 1 / 150) ** 0.5
    assert found.songs == (200, 150)
    assert (found.low, found.high) == pytest.approx((found.mean - 1.96 * error, found.mean + 1.96 * error), abs=0.015)
    assert found.win_rate == pytest.approx(np.mean(first[:, None] > second), abs=1e-12)
    assert found.p < 1e-6
    back = unpaired_difference(second, first)
    assert (back.mean, back.win_rate) == pytest.approx((-found.mean, 1 - found.win_rate))
    assert unpaired_difference(np.ones(4), np.ones(5)).p == 1.0
    assert unpaired_difference(np.ones(3), np.zeros(3)).p == pytest.approx(0.1)


def test_the_number_of_songs_gives_80_percent_power() -> None:
    needed = songs_needed(1.0, 0.5)
    # A t-test needs (1.96 + 0.84)² / 0.5² = 31.4, Wilcoxon's test π/3 times as many.
    assert (needed, songs_needed(1.0, 0.5, ranks=False)) == (33, 32)
    for tests, difference in ((1, 0.5), (18, 0.25)):
        songs = np.random.default_rng(0).normal(difference, 1, (2000, songs_needed(1.0, difference, tests=tests)))
        found = wilcoxon(songs, axis=1, method="approx").pvalue
        assert np.mean(found * tests < 0.05) == pytest.approx(0.8, abs=0.03)


@pytest.mark.parametrize("tests", [1, 3, 18])
def test_the_fewest_songs_are_those_that_a_test_can_be_significant_with(tests: int) -> None:
    for paired in (True, False):
        songs = fewest_songs(tests, paired=paired)
        for count, significant in ((songs, True), (songs - 1, False)):
            apart = np.arange(1.0, count + 1)
            p = wilcoxon(apart).pvalue if paired else mannwhitneyu(apart, -apart).pvalue
            assert p == pytest.approx(smallest_p(count, count, paired=paired))
            assert (p * tests < 0.05) == significant
