"""Paired comparison of two sets of scores of the same songs: difference, interval, test and win rate."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stages.metrics.agreement import Array
from stages.metrics.bootstrap import interval
from stages.metrics.resampling import DRAWS, drawn_counts


@dataclass(frozen=True, kw_only=True)
class PairedDifference:
    """How the first of two sets of scores differs from the second.

    Attributes
    ----------
    pairs
        Number of pairs.
    mean
        Mean of first minus second.
    low, high
        95 % interval of the mean: percentile bootstrap over pairs (Efron and Tibshirani 1993, §13).
    p
        Two-sided p-value of Wilcoxon's signed-rank test; 1 if no pair differs.
    win_rate
        Fraction of pairs in which the first is higher; ties count half.
    """

    pairs: int
    mean: float
    low: float
    high: float
    p: float
    win_rate: float


def paired_difference(first: Array, second: Array, *, draws: int = DRAWS, seed: int = 0) -> PairedDifference:
    """Compare two (N,) vectors of scores of the same songs, N ≥ 1.

    Parameters
    ----------
    draws
        Bootstrap samples.

    Raises
    ------
    ValueError
        The vectors differ in shape, or are empty.
    """
    from scipy.stats import wilcoxon

    if first.shape != second.shape or first.ndim != 1 or not len(first):
        raise ValueError(
            f"expected two (songs,) vectors with at least one pair, found {first.shape} and {second.shape}"
        )
    differences = np.asarray(first, np.float64) - np.asarray(second, np.float64)
    pairs = len(differences)
    low, high = interval(resampled_means(differences, draws=draws, seed=seed))
    return PairedDifference(
        pairs=pairs,
        mean=float(differences.mean()),
        low=low,
        high=high,
        p=float(wilcoxon(differences).pvalue) if differences.any() else 1.0,
        win_rate=float(((differences > 0) + 0.5 * (differences == 0)).mean()),
    )


def resampled_means(values: Array, *, draws: int = DRAWS, seed: int = 0) -> NDArray[np.float64]:
    """The mean of values (N,) in each bootstrap sample, (draws,)."""
    parts = [counts @ values for counts in drawn_counts(len(values), draws=draws, seed=seed)]
    return np.concatenate(parts) / len(values)


def holm(p_values: Sequence[float]) -> NDArray[np.float64]:
    """Adjust p-values (M,) for M tests at once (Holm 1979): the chance of any false finding stays below the level."""
    values = np.asarray(p_values, np.float64)
    order, count = np.argsort(values), len(values)
    steps = np.maximum.accumulate(values[order] * (count - np.arange(count)))
    adjusted = np.empty_like(values)
    adjusted[order] = np.minimum(steps, 1.0)
    return adjusted
