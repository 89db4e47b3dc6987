"""Fitted probes as plain arrays and a formula, so that loading one runs no untrusted code.

A saved scikit-learn object is a pickle or names types to import. Arrays do neither, and do not depend on a release.
N rows, F features, K outputs: 1 for a regression, the number of classes for a classification. All float64.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar, TypeAlias

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics.pairwise import euclidean_distances, rbf_kernel

Array: TypeAlias = NDArray[np.float64]
# Name of an array → one letter per axis.
Axes: TypeAlias = Mapping[str, str]
_ROWS = 1024


@dataclass(frozen=True)
class Linear:
    """x·W + b: ridge, logistic regression, linear SVM. The standardisation is folded into the arrays.

    Attributes
    ----------
    weights
        (F, K).
    offset
        (K,).
    """

    kind: ClassVar[str] = "linear"
    axes: ClassVar[Axes] = {"weights": "FK", "offset": "K"}
    weights: Array
    offset: Array

    def scores(self, x: NDArray[Any]) -> Array:
        """(N, F) features → (N, K) scores."""
        return np.asarray(x @ self.weights + self.offset)


@dataclass(frozen=True)
class Kernel:
    """Σᵢ dᵢ·exp(−γ‖z − sᵢ‖²) + b, where z is the standardised x: support vector regression.

    Attributes
    ----------
    mean, scale
        (F,), the standardisation.
    support
        (M, F) standardised support vectors.
    dual
        (M, 1), in units of the label.
    offset, gamma
        (1,).
    """

    kind: ClassVar[str] = "rbf"
    axes: ClassVar[Axes] = {"mean": "F", "scale": "F", "support": "MF", "dual": "MK", "offset": "K", "gamma": "1"}
    mean: Array
    scale: Array
    support: Array
    dual: Array
    offset: Array
    gamma: Array

    def scores(self, x: NDArray[Any]) -> Array:
        """(N, F) features → (N, 1) scores."""
        z = (x - self.mean) / self.scale
        return np.asarray(rbf_kernel(z, self.support, gamma=float(self.gamma[0])) @ self.dual + self.offset)


@dataclass(frozen=True)
class Neighbours:
    """Mean label, or share of each class, of the nearest training rows in standardised features.

    Attributes
    ----------
    mean, scale
        (F,), the standardisation.
    points
        (M, F) standardised training rows.
    values
        (M, K): labels, or one-hot classes.
    count
        (1,), number of neighbours.
    """

    kind: ClassVar[str] = "neighbours"
    axes: ClassVar[Axes] = {"mean": "F", "scale": "F", "points": "MF", "values": "MK", "count": "1"}
    mean: Array
    scale: Array
    points: Array
    values: Array
    count: Array

    def scores(self, x: NDArray[Any]) -> Array:
        """(N, F) features → (N, K) scores, computed in pieces because the distances are N × M."""
        pieces = [self._nearest(x[start : start + _ROWS]) for start in range(0, len(x), _ROWS)]
        return np.concatenate(pieces) if pieces else np.zeros((0, self.values.shape[1]))

    def _nearest(self, x: NDArray[Any]) -> Array:
        distances = euclidean_distances((x - self.mean) / self.scale, self.points, squared=True)
        # Stable, so that of equally near rows the earlier is used on every machine.
        nearest = np.argsort(distances, axis=1, kind="stable")[:, : int(self.count[0])]
        return np.asarray(self.values[nearest].mean(axis=1))


Predictor: TypeAlias = Linear | Kernel | Neighbours
KINDS: Mapping[str, type[Linear] | type[Kernel] | type[Neighbours]] = {
    known.kind: known for known in (Linear, Kernel, Neighbours)
}


def arrays_of(predictor: Predictor) -> dict[str, Array]:
    """The arrays by name, as saved."""
    named = {field.name: getattr(predictor, field.name) for field in fields(predictor)}
    return {name: np.ascontiguousarray(array, dtype=np.float64) for name, array in named.items()}


def misfit(predictor: Predictor, *, features: int, outputs: int) -> str:
    """The first error in a probe's untrusted arrays; empty if there is none.

    Parameters
    ----------
    features, outputs
        Expected F and K.
    """
    sizes = {"F": features, "K": outputs, "1": 1}
    for name, axes in predictor.axes.items():
        array = getattr(predictor, name)
        expected = tuple(sizes.setdefault(axis, size) for axis, size in zip(axes, array.shape, strict=False))
        if array.dtype != np.float64 or array.ndim != len(axes) or array.shape != expected or 0 in expected:
            wanted = ", ".join(str(sizes.get(axis, axis)) for axis in axes)
            return f"{name} should be float64 ({wanted}), found {array.dtype} {array.shape}"
        if not np.isfinite(array).all():
            return f"{name} holds NaN or infinity"
    if isinstance(predictor, Kernel | Neighbours) and not (predictor.scale > 0).all():
        return "scale should be above 0"
    if isinstance(predictor, Neighbours) and not 1 <= predictor.count[0] <= len(predictor.points):
        return f"count should be from 1 to {len(predictor.points)}, found {predictor.count[0]}"
    return ""
