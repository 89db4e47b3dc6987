"""What can be asked of a store."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from stages.probe.models.kinds import Task

Pooling: TypeAlias = Literal["mean", "std", "both"]
# Which of the store's pooled statistics: 0 the mean over frames, 1 the standard deviation.
POOLINGS: Mapping[str, tuple[int, ...]] = {"mean": (0,), "std": (1,), "both": (0, 1)}


@dataclass(frozen=True, kw_only=True)
class Question:
    """What a probe predicts, from what, and by which model.

    Attributes
    ----------
    target, group
        Columns of the labels: what to predict; what never straddles a split (songs never do).
    model, task
        One of `MODELS`; regression or classification, None: by what the column holds.
    streams, pooling
        What to look at, see `select_streams`; mean, std or both over the frames of each.
    cv, seed
        Folds, and the seed of their draw and of the bootstrap.
    augmented
        Whether augmented views of the training songs train too. Scores are of clean views alone.
    setting
        The model's hyperparameter; None: chosen by inner folds.
    draws
        Bootstrap samples of the intervals.

    Examples
    --------
    >>> import hear_music as hear
    >>> config = hear.ProbeConfig(target="system", model="logistic", streams=("muq/track",))
    >>> config.pooling, config.cv
    ('mean', 5)
    """

    target: str
    model: str
    task: Task | None = None
    group: str | None = None
    streams: tuple[str, ...] = ()
    pooling: Pooling = "mean"
    cv: int = 5
    seed: int = 0
    augmented: bool = False
    setting: float | None = None
    draws: int = 1000
