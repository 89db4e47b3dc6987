"""What is to be fitted, and how: the same five questions whether the features fit in memory or not.

Folds are the unit of everything. A training set is always "all folds but these", for the outer splits, the inner ones
and the final fit alike, so no group of songs is ever on both sides of a split.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from stages.probe.models.kinds import Model
from stages.probe.models.predictors import Array, Predictor


@dataclass(frozen=True)
class Design:
    """Pooled embeddings, a row a view, ordered by song and then view.

    Attributes
    ----------
    x
        (R, F) float32: a numpy array, or a dask array chunked by rows.
    song
        (R,) int64, which song a row is of.
    clean
        (R,) bool, True where the row is view 0. Every song has exactly one such row.
    """

    x: Any
    song: NDArray[np.int64]
    clean: NDArray[np.bool_]

    @property
    def out_of_core(self) -> bool:
        """Whether the features are read in passes."""
        return not isinstance(self.x, np.ndarray)

    def of_columns(self, columns: NDArray[np.intp]) -> "Design":
        """The same rows with some of the features."""
        return replace(self, x=self.x[:, columns])


class FitTask(Protocol):
    """A design, its labels and its folds, with a way to fit a model on them."""

    def fit(self, without: Collection[int], settings: Sequence[float]) -> list[Predictor]:
        """Fit on all folds but `without`, once a setting."""

    def scores(self, predictors: Sequence[Predictor], fold: int) -> list[Array]:
        """(n, K) scores of the clean rows of one fold, in the songs' order, by each predictor."""


class InMemory:
    """The plain way: the features are a numpy array.

    Parameters
    ----------
    design
        The features.
    labels
        (N,) float64, a number a song or the index of its class.
    folds
        (N,) int64, the fold of a song.
    model, classes
        What to fit; `classes` is 0 for a regression.
    """

    def __init__(
        self, design: Design, labels: Array, folds: NDArray[np.int64], *, model: Model, classes: int = 0
    ) -> None:
        self.design = design
        self.labels = labels[design.song]
        self.folds = folds[design.song]
        self.model = model
        self.classes = classes

    def fit(self, without: Collection[int], settings: Sequence[float]) -> list[Predictor]:
        """Fit on all folds but `without`, once a setting."""
        rows = ~np.isin(self.folds, list(without))
        x = self.design.x[rows].astype(np.float64)
        return self.model.fit(x, self.labels[rows], settings, self.classes)

    def scores(self, predictors: Sequence[Predictor], fold: int) -> list[Array]:
        """(n, K) scores of the clean rows of one fold, by each predictor."""
        x = self.design.x[(self.folds == fold) & self.design.clean].astype(np.float64)
        return [predictor.scores(x) for predictor in predictors]
