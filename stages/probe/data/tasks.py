"""Whether a column is a regression or a classification, and which models can do it."""

import math
from collections.abc import Mapping

from stages.probe.errors import ProbeError
from stages.probe.models.kinds import MODELS, Task


def choose_task(values: Mapping[str, str], *, target: str, model: str, task: Task | None = None) -> Task:
    """What the model can do; where it can do both: as told, or a regression where every value is a number.

    Raises
    ------
    ProbeError
        The model is unknown or does not do that task, or a regression is asked of a text.
    """
    if model not in MODELS:
        raise ProbeError(f"unknown model {model!r}; expected one of {', '.join(MODELS)}")
    able = MODELS[model].tasks
    text = next((value for value in values.values() if not is_number(value)), None)
    by_column: Task = "regression" if text is None else "classification"
    chosen = task or (by_column if by_column in able else able[0])
    if chosen not in able:
        raise ProbeError(f"{model} does no {chosen}; use one of {models_for(chosen)}")
    if chosen == "regression" and text is not None:
        others = models_for("classification")
        raise ProbeError(f"column {target!r}: expected numbers, found {text!r}; mend it, or use one of {others}")
    return chosen


def models_for(task: Task) -> str:
    """Names, for messages."""
    return ", ".join(model.name for model in MODELS.values() if task in model.tasks)


def is_number(value: str) -> bool:
    """Whether a cell is a finite number."""
    try:
        return math.isfinite(float(value))
    except ValueError:
        return False
