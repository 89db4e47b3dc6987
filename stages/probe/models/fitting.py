"""Fitting a model on all folds but some, with one interface for features in memory and out of core.

A training set is always "all folds but these", for the outer splits, the inner splits and the final fit. So no group of
songs is ever on both sides of a split.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from stages.probe.models.predictors import Array, Predictor
from stages.probe.models.registry import Model


@dataclass(frozen=True)
class Design:
    """Features, one row per view, ordered by song and then view.

    Attributes
    ----------
    x
        (R, F) float32: a numpy array, or a dask array chunked by rows.
    song
        (R,) int64, the index of each row's song.
    clean
        (R,) bool, True if the row is view 0. Every song has exactly one such row.
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


class Fitter(Protocol):
    """Fits a model on features with labels and folds."""

    def fit(self, without: Collection[int], settings: Sequence[float]) -> list[Predictor]:
        """Fit on all folds but `without`, once per setting."""

    def scores(self, predictors: Sequence[Predictor], fold: int) -> list[Array]:
        """(n, K) scores of the clean rows of one fold, in the songs' order, by each predictor."""


class InMemory:
    """Fits features in memory, a numpy array.

    Parameters
    ----------
    design
        The features.
    labels
        (N,) float64, each song's number or class index.
    folds
        (N,) int64, the fold of each song.
    model, classes
        The model to fit; `classes` is 0 for a regression.
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
        """Fit on all folds but `without`, once per setting."""
        rows = ~np.isin(self.folds, list(without))
        x = self.design.x[rows].astype(np.float64)
        return self.model.fit(x, self.labels[rows], settings, self.classes)

    def scores(self, predictors: Sequence[Predictor], fold: int) -> list[Array]:
        """(n, K) scores of the clean rows of one fold, by each predictor."""
        x = self.design.x[(self.folds == fold) & self.design.clean].astype(np.float64)
        return [predictor.scores(x) for predictor in predictors]
