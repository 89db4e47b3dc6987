"""How well scores agree with ratings: LCC, SRCC, KTAU and TTA, as the SongEval challenge defines them."""

import warnings
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating]
Metrics = dict[str, dict[str, float]]

METRICS = ("LCC", "SRCC", "KTAU", "TTA")

# The challenge's "top tier": songs count as good from this score on.
THRESHOLDS: Mapping[str, float] = {
    "Coherence": 4.0,
    "Musicality": 4.0,
    "Memorability": 3.75,
    "Clarity": 3.75,
    "Naturalness": 4.0,
}


def lcc(ratings: Array, predicted: Array) -> float:
    """Pearson's linear correlation of two (N,) vectors; 0 if one is constant."""
    from scipy.stats import pearsonr

    return _correlation(pearsonr, ratings, predicted)


def srcc(ratings: Array, predicted: Array) -> float:
    """Spearman's rank correlation of two (N,) vectors; 0 if one is constant."""
    from scipy.stats import spearmanr

    return _correlation(spearmanr, ratings, predicted)


def ktau(ratings: Array, predicted: Array) -> float:
    """Kendall's τ-b of two (N,) vectors; 0 if one is constant."""
    from scipy.stats import kendalltau

    return _correlation(kendalltau, ratings, predicted)


def tta(ratings: Array, predicted: Array, *, threshold: float) -> float:
    """Top-tier accuracy: F1 of "at least `threshold`"; 0 if neither side has such a song."""
    rated_high, scored_high = np.asarray(ratings) >= threshold, np.asarray(predicted) >= threshold
    total = int(rated_high.sum() + scored_high.sum())
    return 2 * int(np.sum(rated_high & scored_high)) / total if total else 0.0


def score_metrics(ratings: Array, predicted: Array, *, dimensions: Sequence[str]) -> Metrics:
    """All four metrics, per dimension and, as `mean`, over dimensions.

    Parameters
    ----------
    ratings, predicted
        (N, D), from 1 to 5: one row per song (or system), one column per dimension in the order of `dimensions`.

    Raises
    ------
    ValueError
        The two differ in shape, or do not have one column per dimension.
    """
    if ratings.shape != predicted.shape or ratings.ndim != 2 or ratings.shape[1] != len(dimensions):
        raise ValueError(
            f"metrics need two (songs, {len(dimensions)}) arrays, found {ratings.shape} and {predicted.shape}"
        )
    table = {name: _one(ratings[:, d], predicted[:, d], name) for d, name in enumerate(dimensions)}
    table["mean"] = {metric: float(np.mean([row[metric] for row in table.values()])) for metric in METRICS}
    return table


def total(metrics: Metrics) -> float:
    """The criterion for the best checkpoint: the sum of the four metrics, each a mean over dimensions."""
    return sum(metrics["mean"][metric] for metric in METRICS)


def _one(ratings: Array, predicted: Array, dimension: str) -> dict[str, float]:
    return {
        "LCC": lcc(ratings, predicted),
        "SRCC": srcc(ratings, predicted),
        "KTAU": ktau(ratings, predicted),
        "TTA": tta(ratings, predicted, threshold=THRESHOLDS[dimension]),
    }


def _correlation(statistic: object, ratings: Array, predicted: Array) -> float:
    ratings, predicted = np.asarray(ratings, np.float64), np.asarray(predicted, np.float64)
    if len(ratings) < 2 or np.ptp(ratings) == 0 or np.ptp(predicted) == 0:
        return 0.0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scipy warns of nearly constant input; the value is defined nevertheless
        value = float(statistic(ratings, predicted)[0])  # type: ignore[operator]
    return value if np.isfinite(value) else 0.0
