"""Another model that scores songs beside ours."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.head.checkpoint.ensemble import Ensemble


@dataclass(frozen=True, kw_only=True)
class Companion:
    """A model that reads the waveform, or the frames of our encoders.

    Attributes
    ----------
    name
        Its name in tables and files, where its columns are `name.dimension`.
    identity
        Changes whenever its scores can change; rows of another identity are not resumed.
    score
        Scores of one song by dimension. Without `ensemble`, its argument is mono float32 (n,) at 24 kHz; otherwise
        frames (S, T, C) of the ensemble's streams.
    ensemble
        The heads, if it scores frames.
    scale
        Lowest and highest score; None if unknown.
    licence
        Licence of its weights, in one line; empty if unknown.
    """

    name: str
    identity: str
    score: Callable[[NDArray[Any]], Mapping[str, float]]
    ensemble: Ensemble | None = None
    scale: tuple[float, float] | None = None
    licence: str = ""


def checked_scores(found: object) -> dict[str, float]:
    """The scores that a model returned, as plain numbers.

    Raises
    ------
    ValueError
        They are not a mapping of names to finite numbers.
    """
    if not isinstance(found, Mapping) or not found:
        raise ValueError(f"expected a mapping of names to numbers, found {type(found).__name__}")
    scores = {}
    for name, value in found.items():
        if not (isinstance(name, str) and name and name.isprintable()):
            raise ValueError(f"expected printable names of scores, found {name!r}")
        try:
            number = float(value)
        except (TypeError, ValueError):
            number = float("nan")
        if not np.isfinite(number):
            raise ValueError(f"expected a finite number for {name}, found {value!r}")
        scores[name] = number
    return scores
