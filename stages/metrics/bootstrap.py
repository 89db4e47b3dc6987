"""Uncertainty of the metrics: percentile bootstrap over songs or systems (Efron and Tibshirani 1993, §13)."""

from collections.abc import Sequence

import numpy as np

from stages.metrics.agreement import Array
from stages.metrics.resampling import DRAWS, resampled_metrics

Intervals = dict[str, dict[str, tuple[float, float]]]
QUANTILES = (0.025, 0.975)


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
    samples = resampled_metrics(ratings, predicted, dimensions=dimensions, draws=draws, seed=seed)
    return {name: {metric: interval(values) for metric, values in row.items()} for name, row in samples.items()}


def interval(values: "Sequence[float] | Array") -> tuple[float, float]:
    """95 % interval of a figure, from its values over bootstrap samples."""
    low, high = np.quantile(values, QUANTILES)
    return float(low), float(high)
