"""How well scores agree with ratings: LCC, SRCC, KTAU and TTA, as the SongEval challenge defines them."""

import warnings
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

Ratings = NDArray[np.floating]
Metrics = dict[str, dict[str, float]]

METRICS = ("LCC", "SRCC", "KTAU", "TTA")

# The challenge's "top tier": a song counts as good from this score on.
THRESHOLDS: Mapping[str, float] = {
    "Coherence": 4.0,
    "Musicality": 4.0,
    "Memorability": 3.75,
    "Clarity": 3.75,
    "Naturalness": 4.0,
}


def lcc(rated: Ratings, predicted: Ratings) -> float:
    """Pearson's linear correlation of two (N,) vectors; 0 where one is constant."""
    from scipy.stats import pearsonr

    return _correlation(pearsonr, rated, predicted)


def srcc(rated: Ratings, predicted: Ratings) -> float:
    """Spearman's rank correlation of two (N,) vectors; 0 where one is constant."""
    from scipy.stats import spearmanr

    return _correlation(spearmanr, rated, predicted)


def ktau(rated: Ratings, predicted: Ratings) -> float:
    """Kendall's τ-b of two (N,) vectors; 0 where one is constant."""
    from scipy.stats import kendalltau

    return _correlation(kendalltau, rated, predicted)


def tta(rated: Ratings, predicted: Ratings, *, threshold: float) -> float:
    """Top-tier accuracy: F1 of "at least `threshold`"; 0 where neither side has such a song."""
    truth, guess = np.asarray(rated) >= threshold, np.asarray(predicted) >= threshold
    found = int(np.sum(truth & guess))
    marked = int(truth.sum() + guess.sum())
    return 2 * found / marked if marked else 0.0


def score_metrics(rated: Ratings, predicted: Ratings, *, dimensions: Sequence[str]) -> Metrics:
    """All four metrics, per dimension and, as `mean`, over dimensions.

    Parameters
    ----------
    rated, predicted
        (N, D) ratings of 1 to 5, a row a song (or a system), a column a dimension in the order of `dimensions`.

    Raises
    ------
    ValueError
        The two differ in shape, or do not have one column a dimension.
    """
    if rated.shape != predicted.shape or rated.ndim != 2 or rated.shape[1] != len(dimensions):
        raise ValueError(
            f"metrics need two (songs, {len(dimensions)}) arrays, found {rated.shape} and {predicted.shape}"
        )
    table = {name: _one(rated[:, d], predicted[:, d], name) for d, name in enumerate(dimensions)}
    table["mean"] = {metric: float(np.mean([row[metric] for row in table.values()])) for metric in METRICS}
    return table


def total(metrics: Metrics) -> float:
    """What picks the best checkpoint: the sum of the four metrics, each a mean over dimensions."""
    return sum(metrics["mean"][metric] for metric in METRICS)


def _one(rated: Ratings, predicted: Ratings, dimension: str) -> dict[str, float]:
    return {
        "LCC": lcc(rated, predicted),
        "SRCC": srcc(rated, predicted),
        "KTAU": ktau(rated, predicted),
        "TTA": tta(rated, predicted, threshold=THRESHOLDS[dimension]),
    }


def _correlation(statistic: object, rated: Ratings, predicted: Ratings) -> float:
    rated, predicted = np.asarray(rated, np.float64), np.asarray(predicted, np.float64)
    if len(rated) < 2 or np.ptp(rated) == 0 or np.ptp(predicted) == 0:
        return 0.0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scipy warns of nearly constant input; the value is defined all the same
        value = float(statistic(rated, predicted)[0])  # type: ignore[operator]
    return value if np.isfinite(value) else 0.0
