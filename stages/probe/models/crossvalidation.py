"""Nested cross-validation: scored songs are used neither for fitting nor for choosing the setting."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from stages.probe.models.fitting import Fitter
from stages.probe.models.predictors import Array, Predictor


@dataclass(frozen=True)
class OutOfFold:
    """Results of a cross-validation.

    Attributes
    ----------
    scores
        (N, K) float64: each song's scores by a probe that was fitted without the song and its group.
    settings
        The setting chosen in each outer split, on its training folds.
    final
        The setting chosen on all folds, for the saved probe.
    """

    scores: Array
    settings: tuple[float, ...]
    final: float


def loss(scores: Array, labels: Array) -> float:
    """Sum of squared errors for one output (N, 1); the number of wrong classes for several (N, K)."""
    if scores.shape[1] == 1:
        return float(np.square(scores[:, 0] - labels).sum())
    return float((scores.argmax(axis=1) != labels).sum())


def cross_validate(fitter: Fitter, labels: Array, folds: NDArray[np.int64], settings: Sequence[float]) -> OutOfFold:
    """Score every song out of its fold. Settings are chosen by inner folds, which are the remaining outer folds.

    Each pair of folds is left out together once; each of the two is then the inner validation fold of the other.

    Parameters
    ----------
    labels, folds
        (N,) per song: number or class index; fold.
    settings
        The values to choose from, the most regularised first.
    """
    count = int(folds.max()) + 1
    inner = _inner_losses(fitter, labels, folds, settings)
    outer, scores, chosen = np.zeros(len(settings)), {}, []
    for fold in range(count):
        best = int(inner[fold].argmin())
        by_setting = fitter.scores(fitter.fit({fold}, settings), fold)
        outer += _losses(by_setting, labels[folds == fold])
        scores[fold] = by_setting[best]
        chosen.append(settings[best])
    gathered = np.zeros((len(labels), scores[0].shape[1]))
    for fold, of_fold in scores.items():
        gathered[folds == fold] = of_fold
    return OutOfFold(scores=gathered, settings=tuple(chosen), final=settings[int(outer.argmin())])


def fit_final(fitter: Fitter, setting: float) -> Predictor:
    """Fit the saved probe, on all folds."""
    return fitter.fit((), [setting])[0]


def _inner_losses(fitter: Fitter, labels: Array, folds: NDArray[np.int64], settings: Sequence[float]) -> Array:
    """(folds, settings): for each outer fold, the loss over the other folds, each left out in turn."""
    count = int(folds.max()) + 1
    losses = np.zeros((count, len(settings)))
    if len(settings) == 1:
        return losses
    for first, second in combinations(range(count), 2):
        predictors = fitter.fit({first, second}, settings)
        losses[first] += _losses(fitter.scores(predictors, second), labels[folds == second])
        losses[second] += _losses(fitter.scores(predictors, first), labels[folds == first])
    return losses


def _losses(by_setting: Sequence[Array], labels: Array) -> Array:
    return np.array([loss(scores, labels) for scores in by_setting])
