"""Assignment of songs to folds: groups stay whole, and every training set has every class."""

import math
import warnings

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import GroupKFold, StratifiedGroupKFold

from stages.probe.config import ProbeConfig
from stages.probe.errors import ProbeError
from stages.probe.models.predictors import Array
from stages.probe.models.registry import Model, is_number, models_for

# A training set needs one fold besides the scored one, and one more to choose a setting.
_FEWEST_FOLDS, _FEWEST_FOLDS_TO_CHOOSE = 2, 3


def check_folds(labels: Array, groups: NDArray[np.int64], classes: tuple[str, ...], config: ProbeConfig) -> None:
    """Refuse labels that cannot be split into folds.

    Raises
    ------
    ProbeError
        All labels are equal, or there are too few songs or groups for the folds, in total or in a class.
    """
    target, cv, fewest = config.target, config.cv, fewest_folds(config)
    if cv < fewest:
        why = ", to choose the setting by inner folds; or fix it with --setting" if cv == _FEWEST_FOLDS else ""
        raise ProbeError(f"{cv} folds: expected at least {fewest}{why}")
    unit = "songs" if config.group is None else f"groups of {config.group!r}"
    if len(np.unique(labels)) < 2:
        what = classes[0] if classes else f"{labels[0]:g}"
        raise ProbeError(f"column {target!r} is {what} for all {len(labels)} songs; there is nothing to predict")
    by_class = [(len(np.unique(groups[labels == place])), name) for place, name in enumerate(classes)]
    having, name = min(by_class, default=(cv, ""))
    if having < cv:
        raise ProbeError(f"column {target!r}: class {name!r} has {having} {unit}, fewer than the {cv} folds; "
                         f"{_rare_class_advice(having, classes, config)}")  # fmt: skip
    if (count := len(np.unique(groups))) < cv:
        raise ProbeError(f"column {target!r}: {count} {unit} are too few for {cv} folds; use fewer folds")
    if len(labels) < 2 * cv:
        raise ProbeError(f"column {target!r}: {len(labels)} songs are too few for {cv} folds of two; use fewer folds")


def assign_folds(
    labels: Array, groups: NDArray[np.int64], *, classes: int, cv: int, seed: int, fewest: int
) -> NDArray[np.int64]:
    """(N,) the fold of each song: groups stay whole; for a classification, folds are stratified.

    Parameters
    ----------
    fewest
        Number of folds that each class must be in, so that every training set has it.

    Raises
    ------
    ProbeError
        The groups keep a class out of too many folds, so that some training set would lack it.
    """
    kind = StratifiedGroupKFold if classes else GroupKFold
    splitter = kind(n_splits=cv, shuffle=True, random_state=seed)
    folds = np.zeros(len(labels), dtype=np.int64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # about rare classes, which `check_folds` has checked
        for fold, (_, held_out) in enumerate(splitter.split(np.zeros((len(labels), 1)), labels, groups)):
            folds[held_out] = fold
    for name in range(classes):
        if len(np.unique(folds[labels == name])) < fewest:
            raise ProbeError(
                f"the groups cannot be split so that the training songs of each of {cv} folds have every class; "
                "use another seed, fewer folds or coarser classes"
            )
    if len(np.unique(folds)) < cv:
        raise ProbeError(f"the groups fill only {len(np.unique(folds))} of {cv} folds; use fewer folds")
    return folds


def usable_settings(model: Model, folds: NDArray[np.int64], setting: float | None) -> tuple[float, ...]:
    """The values to choose from: the grid or the given value, with no more neighbours than training rows.

    Parameters
    ----------
    folds
        (R,) the fold of each row.

    Raises
    ------
    ProbeError
        The given value is out of range.
    """
    sizes = np.sort(np.bincount(folds))
    fewest = int(sizes[:-2].sum()) if setting is None else int(sizes[:-1].sum())
    most = float(fewest) if model.setting == "neighbours" else math.inf
    if setting is None:
        return tuple(value for value in model.grid if value <= most) or model.grid[-1:]
    whole = model.setting != "neighbours" or float(setting).is_integer()
    if not (0 < setting <= most and math.isfinite(setting) and whole):
        limit = f"a whole number up to {fewest}" if model.setting == "neighbours" else "a finite number"
        raise ProbeError(f"setting {setting:g}: {model.name} needs {model.setting} above 0, {limit}")
    return (setting,)


def fewest_folds(config: ProbeConfig) -> int:
    """Minimum number of folds, in total and per class."""
    return _FEWEST_FOLDS_TO_CHOOSE if config.setting is None else _FEWEST_FOLDS


def _rare_class_advice(having: int, classes: tuple[str, ...], config: ProbeConfig) -> str:
    if all(is_number(name) for name in classes) and len(classes) > config.cv:
        return f"if the numbers are quantities, use one of {models_for('regression')}"
    if having >= fewest_folds(config):
        return f"use --cv {having}, merge the class with another, or empty its cells"
    if having == _FEWEST_FOLDS:
        return "use --cv 2 with --setting, merge the class with another, or empty its cells"
    return "merge the class with another, or empty its cells"
