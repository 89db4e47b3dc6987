"""Weights of the dimensions: several scores → one number on the same scale."""

import math
from collections.abc import Mapping, Sequence

from stages.scoring.errors import ScoringError

Weights = Mapping[str, float]


def normalised(weights: Weights | None, dimensions: Sequence[str]) -> dict[str, float]:
    """The weights divided by their sum, in the order of the dimensions; without weights, all are equal.

    Dimensions that are not named have the weight 0, and are left out.

    Raises
    ------
    ScoringError
        A name is not a dimension, a weight is negative or not finite, or all are 0.
    """
    given = dict.fromkeys(dimensions, 1.0) if weights is None else weights
    for name, weight in given.items():
        if name not in dimensions:
            raise ScoringError(f"weights: {name!r} is not scored; expected one or more of {', '.join(dimensions)}")
        if not 0 <= weight < math.inf:
            raise ScoringError(f"weights: expected a finite number of 0 or more for {name}, found {weight}; correct it")
    total = sum(given.values())
    if not 0 < total < math.inf:
        raise ScoringError(f"weights: expected a finite sum above 0, found {total:g}; change them")
    return {name: given[name] / total for name in dimensions if given.get(name)}


def weighted(values: Mapping[str, float], weights: Weights) -> float:
    """The weighted mean of values by dimension; the weights are those of `normalised`."""
    return sum(weight * values[name] for name, weight in weights.items())
