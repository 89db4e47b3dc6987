"""How good a probe is: metrics with 95 % intervals, beside the baseline that knows the labels' distribution alone."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stages.metrics.agreement import lcc, srcc
from stages.probe.models.predictors import Array

HEADLINE = {"regression": "R2", "classification": "accuracy"}
_QUANTILES = (0.025, 0.975)


@dataclass(frozen=True)
class Interval:
    """A metric with its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class ProbeScores:
    """Metrics by name: of the probe, of the baseline, and for the headline metric the difference of the two."""

    probe: Mapping[str, Interval]
    baseline: Mapping[str, Interval]
    headline: str
    gain: Interval


def regression_metrics(truth: Array, predicted: Array) -> dict[str, float]:
    """R² (against the mean of `truth`), LCC, SRCC, MAE and RMSE of two (N,) vectors; a constant side gives 0."""
    errors = truth - predicted
    spread = float(np.square(truth - truth.mean()).sum())
    return {
        "R2": 1.0 - float(np.square(errors).sum()) / spread if spread else 0.0,
        "LCC": lcc(truth, predicted),
        "SRCC": srcc(truth, predicted),
        "MAE": float(np.abs(errors).mean()),
        "RMSE": float(np.sqrt(np.square(errors).mean())),
    }


def classification_metrics(truth: Array, predicted: Array) -> dict[str, float]:
    """Accuracy, balanced accuracy (mean recall) and macro F1 of two (N,) vectors of class indices.

    Classes that are not in `truth` do not count.
    """
    table = confusion(truth, predicted, classes=int(max(truth.max(), predicted.max())) + 1)
    hits, actual, said = np.diag(table), table.sum(axis=1), table.sum(axis=0)
    there = actual > 0
    return {
        "accuracy": float(hits.sum() / table.sum()),
        "balanced_accuracy": float((hits[there] / actual[there]).mean()),
        "macro_F1": float((2 * hits[there] / (actual + said)[there]).mean()),
    }


def confusion(truth: Array, predicted: Array, *, classes: int) -> NDArray[np.int64]:
    """(classes, classes) counts: a row a true class, a column a predicted one."""
    cells = truth.astype(np.int64) * classes + predicted.astype(np.int64)
    return np.bincount(cells, minlength=classes**2).reshape(classes, classes)


def baseline(labels: Array, *, classes: int) -> Array:
    """(N,) what one says without hearing: the mean, or the most frequent class, of all the labels.

    Taken over all songs and not per fold: a fold's training mean leans away from the fold's own, so that the usual
    dummy comes out below chance and flatters the probe beside it.
    """
    if classes:
        return np.full(len(labels), float(np.bincount(labels.astype(np.int64)).argmax()))
    return np.full(len(labels), labels.mean())


def score(
    labels: Array, predicted: Array, groups: NDArray[np.int64], *, classes: int, draws: int = 1000, seed: int = 0
) -> ProbeScores:
    """Metrics of the probe and the baseline, with percentile bootstrap intervals over groups.

    Groups are drawn, not songs: songs of one group are no independent evidence. Probe and baseline see the same draws,
    so the interval of their difference is that of a paired comparison.

    Parameters
    ----------
    labels, predicted
        (N,) out of fold.
    groups
        (N,) what is drawn together.
    classes
        0 for a regression.
    draws
        How many bootstrap samples.
    """
    metrics: Callable[[Array, Array], dict[str, float]] = classification_metrics if classes else regression_metrics
    headline = HEADLINE["classification" if classes else "regression"]
    dummy = baseline(labels, classes=classes)
    members = _members(groups)
    rng = np.random.default_rng(seed)
    samples = [np.concatenate([members[one] for one in rng.integers(len(members), size=len(members))])
               for _ in range(draws)]  # fmt: skip
    drawn = {name: [metrics(labels[rows], said[rows]) for rows in samples]
             for name, said in (("probe", predicted), ("baseline", dummy))}  # fmt: skip
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
    low, high = np.quantile(drawn, _QUANTILES)
    return Interval(value, float(low), float(high))
