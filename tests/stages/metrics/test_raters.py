"""Agreement of raters against published examples."""

import numpy as np
import pytest

from stages.metrics.raters import rater_agreement

NAN = np.nan
# Shrout and Fleiss 1979, table 2: six subjects, four judges; ICC(2,1) = .29, ICC(2,4) = .62, ICC(3,4) = .91.
SHROUT_FLEISS = np.array(
    [[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]], np.float64
)
# Krippendorff 2011, example C: four observers, twelve units, missing values; alpha is .849 for interval data.
KRIPPENDORFF = np.array(
    [
        [1, 2, 3, 3, 2, 1, 4, 1, 2, NAN, NAN, NAN],
        [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, NAN, 3],
        [NAN, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, NAN],
        [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, NAN],
    ]
).T


def simulated(songs: int, raters: int, *, strictness: float = 0.5, seed: int = 0) -> np.ndarray:
    """Ratings with variance 1 of songs and 0.5 of the rest."""
    generator = np.random.default_rng(seed)
    bias = strictness * generator.standard_normal(raters)
    noise = np.sqrt(0.5) * generator.standard_normal((songs, raters))
    return generator.standard_normal((songs, 1)) + bias + noise


def test_intraclass_correlations_equal_the_published_example() -> None:
    found = rater_agreement(SHROUT_FLEISS, draws=20)
    assert found is not None
    assert (round(found.icc, 2), round(found.icc_mean, 2)) == (0.29, 0.62)
    # The ceiling ignores constant strictness: it is the root of ICC(3,4).
    assert found.ceiling**2 == pytest.approx(0.909, abs=1e-3)


def test_alpha_equals_the_published_example_with_missing_ratings() -> None:
    found = rater_agreement(KRIPPENDORFF, draws=20)
    assert found is not None
    assert found.alpha == pytest.approx(0.849, abs=5e-4)
    # Unit 12 has one rating and is left out.
    assert (found.songs, found.raters, found.per_song) == (11, 4, pytest.approx(40 / 11))


def test_known_variances_are_found_where_each_song_has_4_of_16_raters() -> None:
    ratings = simulated(3000, 16)
    present = np.argsort(np.random.default_rng(1).random(ratings.shape), axis=1) < 4
    strictness = np.var(ratings.mean(axis=0), ddof=1)
    found = rater_agreement(np.where(present, ratings, NAN), draws=50)
    assert found is not None
    assert found.per_song == 4
    assert found.icc == pytest.approx(1 / (1.5 + strictness), abs=0.02)
    assert found.icc_mean == pytest.approx(1 / (1 + (0.5 + strictness) / 4), abs=0.02)
    assert found.icc_interval[0] < found.icc < found.icc_interval[1]
    assert found.rater_srcc is not None
    assert 0.5 < found.rater_srcc < found.ceiling


def test_no_score_exceeds_the_ceiling_and_the_true_score_reaches_it() -> None:
    ratings = simulated(5000, 4, strictness=1.0)
    generator = np.random.default_rng(0)
    generator.standard_normal(4)
    generator.standard_normal((5000, 4))
    true = generator.standard_normal(5000)
    found = rater_agreement(ratings, draws=20)
    assert found is not None
    assert np.corrcoef(true, ratings.mean(axis=1))[0, 1] == pytest.approx(found.ceiling, abs=0.01)
    assert found.ceiling > np.sqrt(found.icc_mean)


@pytest.mark.parametrize("ratings", [np.full((5, 4), 3.0), np.array([[1.0, 2.0], [3.0, NAN], [4.0, NAN]])])
def test_agreement_is_unknown_without_differences_or_songs_with_two_ratings(ratings: np.ndarray) -> None:
    assert rater_agreement(ratings) is None
