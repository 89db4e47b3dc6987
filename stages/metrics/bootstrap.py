"""How sure the metrics are: percentile bootstrap over songs or systems (Efron and Tibshirani 1993, §13)."""

from collections.abc import Sequence

import numpy as np

from stages.metrics.agreement import METRICS, Metrics, Ratings, score_metrics

Intervals = dict[str, dict[str, tuple[float, float]]]
QUANTILES = (0.025, 0.975)
DRAWS = 1000


def bootstrap_intervals(
    rated: Ratings, predicted: Ratings, *, dimensions: Sequence[str], draws: int = DRAWS, seed: int = 0
) -> Intervals:
    """95 % intervals of what `score_metrics` gives, in the same shape, each as (low, high).

    Rows are drawn with replacement, the same ones for all dimensions and metrics, so that the interval of the mean
    over dimensions knows how they go together.

    Parameters
    ----------
    rated, predicted
        (N, D) ratings, a row a song, or means, a row a system.
    draws
        Bootstrap samples.
    """
    generator = np.random.default_rng(seed)
    tables: list[Metrics] = []
    for _ in range(draws):
        rows = generator.integers(len(rated), size=len(rated))
        tables.append(score_metrics(rated[rows], predicted[rows], dimensions=dimensions))
    return {
        name: {metric: _interval([table[name][metric] for table in tables]) for metric in METRICS}
        for name in (*dimensions, "mean")
    }


def _interval(values: Sequence[float]) -> tuple[float, float]:
    low, high = np.quantile(values, QUANTILES)
    return float(low), float(high)
