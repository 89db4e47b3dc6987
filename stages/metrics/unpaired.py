"""Comparison of scores of different songs, and the number of songs that a comparison takes."""

import itertools
import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from stages.metrics.agreement import Array
from stages.metrics.bootstrap import interval
from stages.metrics.paired import resampled_means
from stages.metrics.resampling import DRAWS

# A two-sided test at 5 %, the quantile of its 95 % interval, and 80 % power.
LEVEL, NORMAL_95, _POWER = 0.05, 1.959964, 0.8
# Wilcoxon's tests need this much more than a t-test if differences are normal (Lehmann 1998, §2.4).
_RANKS = math.pi / 3


@dataclass(frozen=True, kw_only=True)
class UnpairedDifference:
    """How one set of scores differs from another of different songs.

    Attributes
    ----------
    songs
        Numbers of songs.
    mean
        Difference of the means.
    low, high
        95 % interval of it: percentile bootstrap, each set on its own.
    p
        Two-sided p-value of the Mann–Whitney test; 1 if all scores are equal.
    win_rate
        Probability that a song of the first is higher than one of the second; ties count half.
    """

    songs: tuple[int, int]
    mean: float
    low: float
    high: float
    p: float
    win_rate: float


def unpaired_difference(first: Array, second: Array, *, draws: int = DRAWS, seed: int = 0) -> UnpairedDifference:
    """Compare vectors of scores (N,) and (M,) of different songs, N, M ≥ 1.

    Parameters
    ----------
    draws
        Bootstrap samples.
    """
    from scipy.stats import mannwhitneyu

    first, second = np.asarray(first, np.float64), np.asarray(second, np.float64)
    low, high = difference_interval(first, second, draws=draws, seed=seed)
    test, songs = mannwhitneyu(first, second), (len(first), len(second))
    return UnpairedDifference(
        songs=songs,
        mean=float(first.mean() - second.mean()),
        low=low,
        high=high,
        # For ties, scipy takes the normal approximation, which may go below what so few songs can show.
        p=1.0 if np.ptp([*first, *second]) == 0 else max(smallest_p(*songs, paired=False), float(test.pvalue)),
        win_rate=float(test.statistic) / (len(first) * len(second)),
    )


def difference_interval(first: Array, second: Array, *, draws: int = DRAWS, seed: int = 0) -> tuple[float, float]:
    """95 % interval of the difference of the means of vectors (N,) and (M,): percentile bootstrap, each on its own."""
    # Different seeds: equal ones would draw the same positions from both, as if the songs were pairs.
    means = [resampled_means(each, draws=draws, seed=2 * seed + at) for at, each in enumerate((first, second))]
    return interval(means[0] - means[1])


def songs_needed(deviation: float, difference: float, *, tests: int = 1, ranks: bool = True) -> int:
    """How many pairs show a true difference with 80 % power (normal approximation).

    Parameters
    ----------
    deviation
        Standard deviation of the differences of pairs; for different songs, √(s₁² + s₂²), and the result is per set.
    difference
        The true difference.
    tests
        Two-sided tests that are corrected together: each at 5 % over their number, as for the first of Holm's steps.
    ranks
        Whether the test is Wilcoxon's or Mann–Whitney's, which take π/3 times as many.
    """
    quantiles = NormalDist().inv_cdf(1 - LEVEL / tests / 2) + NormalDist().inv_cdf(_POWER)
    return math.ceil((_RANKS if ranks else 1.0) * (quantiles * deviation / difference) ** 2)


def fewest_songs(tests: int, *, paired: bool) -> int:
    """The fewest pairs, or songs of each set, with which one of several corrected rank tests can be below 5 %."""
    return next(n for n in itertools.count(1) if smallest_p(n, n, paired=paired) * tests < LEVEL)


def smallest_p(first: int, second: int, *, paired: bool) -> float:
    """The smallest two-sided p-value of Wilcoxon's test for pairs, or of the Mann–Whitney test for two sets."""
    return 2.0 ** (1 - first) if paired else min(1.0, 2 / math.comb(first + second, first))
