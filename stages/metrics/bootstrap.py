"""Uncertainty of the metrics: percentile bootstrap over songs or systems (Efron and Tibshirani 1993, §13)."""

from collections.abc import Sequence

import numpy as np

from stages.metrics.agreement import METRICS, Array, Metrics, score_metrics

Intervals = dict[str, dict[str, tuple[float, float]]]
QUANTILES = (0.025, 0.975)
DRAWS = 1000


def bootstrap_intervals(
    ratings: Array, predicted: Array, *, dimensions: Sequence[str], draws: int = DRAWS, seed: int = 0
) -> Intervals:
    """95 % intervals of the metrics of `score_metrics`, in the same layout, each as (low, high).

    Rows are drawn with replacement, the same rows for all dimensions and metrics, so that the interval of the mean
    over dimensions accounts for their correlation.

    Parameters
    ----------
    ratings, predicted
        (N, D): one row per song, or means, one row per system.
    draws
        Bootstrap samples.
    """
    generator = np.random.default_rng(seed)
    tables: list[Metrics] = []
    for _ in range(draws):
        rows = generator.integers(len(ratings), size=len(ratings))
        tables.append(score_metrics(ratings[rows], predicted[rows], dimensions=dimensions))
    return {
        name: {metric: interval([table[name][metric] for table in tables]) for metric in METRICS}
        for name in (*dimensions, "mean")
    }


def interval(values: Sequence[float]) -> tuple[float, float]:
    """95 % interval of a figure, from its values over bootstrap samples."""
    low, high = np.quantile(values, QUANTILES)
    return float(low), float(high)
