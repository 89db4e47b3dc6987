"""Nested cross-validation over folds: what is scored is never what was fitted on, nor what chose the setting."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from stages.probe.models.predictors import Array, Predictor
from stages.probe.models.problem import FitTask


@dataclass(frozen=True)
class OutOfFold:
    """What came out of a cross-validation.

    Attributes
    ----------
    scores
        (N, K) float64: each song scored by a probe that has seen neither it nor its group.
    settings
        The setting that each outer split chose on its own training folds.
    final
        The setting chosen on all folds, for the probe that is saved.
    """

    scores: Array
    settings: tuple[float, ...]
    final: float


def loss(scores: Array, labels: Array) -> float:
    """Sum of squared errors for one output (N, 1); the number of wrong classes for several (N, K)."""
    if scores.shape[1] == 1:
        return float(np.square(scores[:, 0] - labels).sum())
    return float((scores.argmax(axis=1) != labels).sum())


def cross_validate(problem: FitTask, labels: Array, folds: NDArray[np.int64], settings: Sequence[float]) -> OutOfFold:
    """Score every song out of its fold, and choose the settings by inner folds, which are the remaining outer ones.

    A pair of folds left out serves both as inner split of the other: each pair is fitted once.

    Parameters
    ----------
    labels, folds
        (N,) a song: number or class index; fold.
    settings
        The values to choose from, the most regularised first.
    """
    count = int(folds.max()) + 1
    inner = _inner_losses(problem, labels, folds, settings)
    outer, scores, chosen = np.zeros(len(settings)), {}, []
    for fold in range(count):
        best = int(inner[fold].argmin())
        by_setting = problem.scores(problem.fit({fold}, settings), fold)
        outer += _losses(by_setting, labels[folds == fold])
        scores[fold] = by_setting[best]
        chosen.append(settings[best])
    gathered = np.zeros((len(labels), scores[0].shape[1]))
    for fold, of_fold in scores.items():
        gathered[folds == fold] = of_fold
    return OutOfFold(scores=gathered, settings=tuple(chosen), final=settings[int(outer.argmin())])


def fit_final(problem: FitTask, setting: float) -> Predictor:
    """The probe that is saved: fitted on all folds."""
    return problem.fit((), [setting])[0]


def _inner_losses(problem: FitTask, labels: Array, folds: NDArray[np.int64], settings: Sequence[float]) -> Array:
    """(folds, settings): the loss on the other folds, each left out in turn beside the first."""
    count = int(folds.max()) + 1
    losses = np.zeros((count, len(settings)))
    if len(settings) == 1:
        return losses
    for first, second in combinations(range(count), 2):
        predictors = problem.fit({first, second}, settings)
        losses[first] += _losses(problem.scores(predictors, second), labels[folds == second])
        losses[second] += _losses(problem.scores(predictors, first), labels[folds == first])
    return losses


def _losses(by_setting: Sequence[Array], labels: Array) -> Array:
    return np.array([loss(scores, labels) for scores in by_setting])
