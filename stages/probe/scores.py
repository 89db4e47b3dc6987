"""Metrics of a probe with 95 % intervals, compared with a baseline that uses only the labels' distribution."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stages.metrics.agreement import lcc, srcc
from stages.metrics.bootstrap import interval
from stages.probe.models.predictors import Array

HEADLINE = {"regression": "R2", "classification": "accuracy"}


@dataclass(frozen=True)
class Interval:
    """A metric with its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class ProbeScores:
    """Metrics by name, of the probe and of the baseline, and the difference of the headline metric."""

    probe: Mapping[str, Interval]
    baseline: Mapping[str, Interval]
    headline: str
    gain: Interval


def regression_metrics(labels: Array, predicted: Array) -> dict[str, float]:
    """R² (against the mean of `labels`), LCC, SRCC, MAE and RMSE of two (N,) vectors; 0 if one is constant."""
    errors = labels - predicted
    spread = float(np.square(labels - labels.mean()).sum())
    return {
        "R2": 1.0 - float(np.square(errors).sum()) / spread if spread else 0.0,
        "LCC": lcc(labels, predicted),
        "SRCC": srcc(labels, predicted),
        "MAE": float(np.abs(errors).mean()),
        "RMSE": float(np.sqrt(np.square(errors).mean())),
    }


def classification_metrics(labels: Array, predicted: Array) -> dict[str, float]:
    """Accuracy, balanced accuracy (mean recall) and macro F1 of two (N,) vectors of class indices.

    Classes that are not in `labels` do not count.
    """
    table = confusion(labels, predicted, classes=int(max(labels.max(), predicted.max())) + 1)
    hits, actual, found = np.diag(table), table.sum(axis=1), table.sum(axis=0)
    present = actual > 0
    return {
        "accuracy": float(hits.sum() / table.sum()),
        "balanced_accuracy": float((hits[present] / actual[present]).mean()),
        "macro_F1": float((2 * hits[present] / (actual + found)[present]).mean()),
    }


def confusion(labels: Array, predicted: Array, *, classes: int) -> NDArray[np.int64]:
    """(classes, classes) counts: rows are true classes, columns predicted classes."""
    cells = labels.astype(np.int64) * classes + predicted.astype(np.int64)
    return np.bincount(cells, minlength=classes**2).reshape(classes, classes)


def baseline(labels: Array, *, classes: int) -> Array:
    """(N,) the constant prediction: the mean, or the most frequent class, of all labels.

    It is computed over all songs, not per fold. A fold's training mean deviates from the overall mean in the opposite
    direction to the fold's own mean, so a baseline per fold scores below chance and flatters the probe.
    """
    if classes:
        return np.full(len(labels), float(np.bincount(labels.astype(np.int64)).argmax()))
    return np.full(len(labels), labels.mean())


def score(
    labels: Array, predicted: Array, groups: NDArray[np.int64], *, classes: int, draws: int = 1000, seed: int = 0
) -> ProbeScores:
    """Metrics of the probe and the baseline, with percentile bootstrap intervals over groups.

    Groups are drawn, not songs, because songs of one group are not independent. Probe and baseline use the same draws,
    so the interval of their difference is that of a paired comparison.

    Parameters
    ----------
    labels, predicted
        (N,) out of fold.
    groups
        (N,) songs of one group are drawn together.
    classes
        0 for a regression.
    draws
        Number of bootstrap samples.
    """
    metrics: Callable[[Array, Array], dict[str, float]] = classification_metrics if classes else regression_metrics
    headline = HEADLINE["classification" if classes else "regression"]
    dummy = baseline(labels, classes=classes)
    members = _members(groups)
    rng = np.random.default_rng(seed)
    samples = [np.concatenate([members[one] for one in rng.integers(len(members), size=len(members))])
               for _ in range(draws)]  # fmt: skip
    drawn = {name: [metrics(labels[rows], guess[rows]) for rows in samples]
             for name, guess in (("probe", predicted), ("baseline", dummy))}  # fmt: skip
    whole = {"probe": metrics(labels, predicted), "baseline": metrics(labels, dummy)}
    intervals = {
        side: {name: _interval(value, [one[name] for one in drawn[side]]) for name, value in values.items()}
        for side, values in whole.items()
    }
    differences = [
        ours[headline] - theirs[headline] for ours, theirs in zip(drawn["probe"], drawn["baseline"], strict=True)
    ]
    gain = _interval(whole["probe"][headline] - whole["baseline"][headline], differences)
    return ProbeScores(intervals["probe"], intervals["baseline"], headline, gain)


def _members(groups: NDArray[np.int64]) -> list[NDArray[np.intp]]:
    order = np.argsort(groups, kind="stable")
    return np.split(order, np.cumsum(np.bincount(groups))[:-1])


def _interval(value: float, drawn: list[float]) -> Interval:
    return Interval(value, *interval(drawn))
