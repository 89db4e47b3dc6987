"""Settings of a probe."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from stages.probe.models.registry import Task

Pooling: TypeAlias = Literal["mean", "std", "both"]
# Indices of the frame statistics: 0 the mean over frames, 1 the standard deviation.
POOLINGS: Mapping[str, tuple[int, ...]] = {"mean": (0,), "std": (1,), "both": (0, 1)}


@dataclass(frozen=True, kw_only=True)
class ProbeConfig:
    """Settings of one probe.

    Attributes
    ----------
    target, group
        Columns of the labels: the one to predict; the one whose groups stay in one fold (as songs always do).
    model, task
        One of `MODELS`; regression or classification, None to decide by the column's values.
    streams, pooling
        Streams to use, see `select_streams`; mean, std or both over each stream's frames.
    cv, seed
        Number of folds, and the seed for the folds and the bootstrap.
    augmented
        Whether augmented views of the training songs are used for fitting. Only clean views are scored.
    setting
        The model's hyperparameter; None to choose it by inner folds.
    draws
        Number of bootstrap samples for the intervals.

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
