"""The available models, fitted by scikit-learn and converted to plain arrays; and the choice of a task.

Every model gets standardised features and has one setting. Its grid runs from the most regularised value to the least,
so that the simplest of equally good settings is chosen.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics.pairwise import rbf_kernel
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVR, LinearSVC

from stages.probe.errors import ProbeError
from stages.probe.models.predictors import Array, Kernel, Linear, Neighbours, Predictor

Task: TypeAlias = Literal["regression", "classification"]
Fit: TypeAlias = Callable[[Array, Array, Sequence[float], int], list[Predictor]]
_MAX_ITERATIONS = 10_000
_NEIGHBOURS = (31, 15, 7, 3, 1)


@dataclass(frozen=True)
class Model:
    """One available model.

    Attributes
    ----------
    tasks
        Supported tasks.
    setting, grid
        Name of its hyperparameter, and the values to choose from.
    fit
        (features (N, F), labels (N,), settings, classes) → one predictor per setting. Labels are numbers, or indices of
        classes; `classes` is 0 for a regression.
    out_of_core
        Whether it can be fitted in passes over features that do not fit in memory.
    scores
        Meaning of its scores: value, probability, margin or share (of the neighbours).
    """

    name: str
    tasks: tuple[Task, ...]
    setting: str
    grid: tuple[float, ...]
    fit: Fit
    out_of_core: bool
    scores: str


def _fit_ridge(x: Array, y: Array, settings: Sequence[float], classes: int) -> list[Predictor]:
    scaler = StandardScaler().fit(x)
    scaled = scaler.transform(x)
    fitted = [Ridge(alpha=alpha).fit(scaled, y) for alpha in settings]
    return [unscaled(scaler.mean_, scaler.scale_, one.coef_[:, None], np.array([one.intercept_])) for one in fitted]


def _fit_svr(x: Array, y: Array, settings: Sequence[float], classes: int) -> list[Predictor]:
    scaler = StandardScaler().fit(x)
    scaled = scaler.transform(x)
    center, spread = y.mean(), y.std() or 1.0
    # scikit-learn's gamma="scale". The kernel is computed here, once for all settings and by one matrix product:
    # libsvm evaluates it element by element, which takes minutes per fit at 8,192 features.
    gamma = 1.0 / (scaled.shape[1] * (scaled.var() or 1.0))
    kernel = rbf_kernel(scaled, gamma=gamma)
    found: list[Predictor] = []
    for strength in settings:
        one = SVR(kernel="precomputed", C=strength).fit(kernel, (y - center) / spread)
        found.append(
            Kernel(
                mean=scaler.mean_,
                scale=scaler.scale_,
                support=scaled[one.support_],
                dual=one.dual_coef_.T * spread,
                offset=one.intercept_ * spread + center,
                gamma=np.array([gamma]),
            )
        )
    return found


def _fit_neighbours(x: Array, y: Array, settings: Sequence[float], classes: int) -> list[Predictor]:
    scaler = StandardScaler().fit(x)
    values = np.eye(classes)[y.astype(np.int64)] if classes else y[:, None].astype(np.float64)
    shared = {"mean": scaler.mean_, "scale": scaler.scale_, "points": scaler.transform(x), "values": values}
    return [Neighbours(**shared, count=np.array([float(count)])) for count in settings]


def _fit_logistic(x: Array, y: Array, settings: Sequence[float], classes: int) -> list[Predictor]:
    # Each fit starts from the previous, more regularised result.
    model = LogisticRegression(warm_start=True, max_iter=_MAX_ITERATIONS)
    return _fit_linear_classifier(model, x, y, settings)


def _fit_linear_svm(x: Array, y: Array, settings: Sequence[float], classes: int) -> list[Predictor]:
    # The primal solver: the dual one often fails to converge with more features than rows.
    model = LinearSVC(dual=False, max_iter=_MAX_ITERATIONS, random_state=0)
    return _fit_linear_classifier(model, x, y, settings)


def _fit_linear_classifier(model: Any, x: Array, y: Array, settings: Sequence[float]) -> list[Predictor]:
    scaler = StandardScaler().fit(x)
    scaled = scaler.transform(x)
    found: list[Predictor] = []
    for strength in settings:
        model.set_params(C=strength).fit(scaled, y)
        symmetric = isinstance(model, LinearSVC)
        weights, offset = both_classes(model.coef_.T, model.intercept_, symmetric=symmetric)
        found.append(unscaled(scaler.mean_, scaler.scale_, weights, offset))
    return found


def both_classes(weights: NDArray[Any], offset: NDArray[Any], *, symmetric: bool) -> tuple[Array, Array]:
    """One score per class, also for two classes, for which the model has one score, that of the second.

    Parameters
    ----------
    weights, offset
        (F, K) and (K,), or (F, 1) and (1,) for two classes.
    symmetric
        Whether the first class's score is minus the second's (a margin) or 0 (a logit, as softmax expects).
    """
    if weights.shape[1] > 1:
        return np.array(weights, dtype=np.float64), np.array(offset, dtype=np.float64)
    first = -1.0 if symmetric else 0.0
    return np.hstack([first * weights, weights]), np.hstack([first * offset, offset])


def unscaled(mean: Array, scale: Array, weights: Array, offset: Array) -> Linear:
    """Fold the standardisation into a linear model: (x − mean)/scale·W + b = x·W' + b'."""
    folded = weights / scale[:, None]
    return Linear(weights=folded, offset=offset - mean @ folded)


MODELS = {
    model.name: model
    for model in (
        Model("ridge", ("regression",), "alpha", (1e6, 1e5, 1e4, 1e3, 1e2, 1e1, 1e0), _fit_ridge, True, "value"),
        Model("svr", ("regression",), "C", (0.1, 1.0, 10.0, 100.0), _fit_svr, False, "value"),
        Model("knn", ("regression", "classification"), "neighbours", _NEIGHBOURS, _fit_neighbours, False, "share"),
        Model("logistic", ("classification",), "C", (1e-4, 1e-3, 1e-2, 1e-1, 1e0), _fit_logistic, True, "probability"),
        Model("linear-svm", ("classification",), "C", (1e-5, 1e-4, 1e-3, 1e-2), _fit_linear_svm, True, "margin"),
    )
}


def choose_task(values: Mapping[str, str], *, target: str, model: str, task: Task | None = None) -> Task:
    """The task of a model. If it supports both: `task`, or else regression if every value is a number.

    Raises
    ------
    ProbeError
        The model is unknown or does not support the task, or a value is not a number in a regression.
    """
    if model not in MODELS:
        raise ProbeError(f"unknown model {model!r}; expected one of {', '.join(MODELS)}")
    able = MODELS[model].tasks
    text = next((value for value in values.values() if not is_number(value)), None)
    by_column: Task = "regression" if text is None else "classification"
    chosen = task or (by_column if by_column in able else able[0])
    if chosen not in able:
        raise ProbeError(f"{model} does not support {chosen}; use one of {models_for(chosen)}")
    if chosen == "regression" and text is not None:
        others = models_for("classification")
        raise ProbeError(f"column {target!r}: expected numbers, found {text!r}; correct it, or use one of {others}")
    return chosen


def models_for(task: Task) -> str:
    """Names of the models for a task, for messages."""
    return ", ".join(model.name for model in MODELS.values() if task in model.tasks)


def is_number(value: str) -> bool:
    """Whether a cell is a finite number."""
    try:
        return math.isfinite(float(value))
    except ValueError:
        return False
