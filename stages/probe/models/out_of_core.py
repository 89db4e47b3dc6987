"""Fitting in passes over features that do not fit in memory: a dask array, chunked by rows, one chunk at a time.

Chunks are processed one by one and in order. The products within a chunk already use all cores, memory is that of one
chunk and the sums, and the result is the same on every machine.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.probe.models.fitting import Design
from stages.probe.models.predictors import Array, Linear, Predictor


class FileRows:
    """Rows of a mapped file, read on access.

    dask copies numpy arrays, including mapped ones, so the whole file would be in memory.

    Parameters
    ----------
    mapped
        (R, F), such as a numpy.memmap.
    """

    def __init__(self, mapped: NDArray[np.float32]) -> None:
        self.mapped = mapped
        self.shape, self.dtype, self.ndim = mapped.shape, mapped.dtype, mapped.ndim

    def __getitem__(self, key: Any) -> NDArray[np.float32]:
        return np.array(self.mapped[key])

    def in_chunks(self, rows: int) -> Any:
        """A dask array (R, F) with `rows` rows per chunk."""
        import dask.array as da

        return da.from_array(self, chunks=(rows, self.shape[1]), name=False)


@dataclass(frozen=True)
class Block:
    """One chunk: features (n, F) float64, labels (n,), folds (n,), clean (n,) bool."""

    x: Array
    y: Array
    fold: NDArray[np.int64]
    clean: NDArray[np.bool_]


class Passes:
    """Reads a design chunk by chunk, with the label and the fold of each row.

    Parameters
    ----------
    design
        The features, `x` a dask array chunked by rows alone.
    labels, folds
        (N,) per song.
    """

    def __init__(self, design: Design, labels: Array, folds: NDArray[np.int64]) -> None:
        self.design = design
        self.labels = labels[design.song]
        self.row_folds = folds[design.song]
        self.folds = int(folds.max()) + 1
        self.features = int(design.x.shape[1])
        self.chunks = [(rows, design.x.blocks[place]) for place, rows in enumerate(design.x.chunks[0])]

    def __iter__(self) -> Iterator[Block]:
        start = 0
        for rows, chunk in self.chunks:
            here = slice(start, start + rows)
            x = chunk.compute(scheduler="synchronous").astype(np.float64)
            yield Block(x, self.labels[here], self.row_folds[here], self.design.clean[here])
            start += rows

    def mean(self) -> Array:
        """(F,) mean over all rows, subtracted before squaring, so that no digits are lost."""
        total = np.zeros(self.features)
        for block in self:
            total += block.x.sum(axis=0)
        return np.asarray(total / len(self.labels))

    def scores(self, predictors: Sequence[Predictor], fold: int) -> list[Array]:
        """(n, K) scores of the clean rows of one fold, by each predictor, in one pass."""
        found: list[list[Array]] = [[] for _ in predictors]
        for block in self:
            rows = (block.fold == fold) & block.clean
            for one, predictor in zip(found, predictors, strict=True):
                one.append(predictor.scores(block.x[rows]))
        return [np.concatenate(pieces) for pieces in found]


def scale_of(variance: Array, mean: Array, rows: int) -> Array:
    """(F,) standard deviations; 1 for features that are constant up to rounding, as in scikit-learn's scaler."""
    smallest = np.finfo(np.float64).eps
    constant = variance <= rows * smallest * variance + np.square(rows * mean * smallest)
    return np.where(constant, 1.0, np.sqrt(np.maximum(variance, 0.0)))


class NormalEquations:
    """Ridge regression in one pass: sums of products per fold, which give the exact fit of every training set.

    With z = [x − c, y − c'] for each row, fold k keeps n = Σ1, s = Σz and A = Σzzᵀ. A training set's covariance is
    ΣA − ssᵀ/n over its folds. Standardised and decomposed once, it gives the weights for every alpha.
    """

    def __init__(self, design: Design, labels: Array, folds: NDArray[np.int64]) -> None:
        self.passes = Passes(design, labels, folds)
        self.center = np.append(self.passes.mean(), self.passes.labels.mean())
        size = self.passes.features + 1
        self.counts = np.bincount(self.passes.row_folds, minlength=self.passes.folds)
        self.sums = np.zeros((self.passes.folds, size))
        self.products = np.zeros((self.passes.folds, size, size))
        for block in self.passes:
            for fold in np.unique(block.fold):
                rows = block.fold == fold
                z = np.column_stack([block.x[rows], block.y[rows]]) - self.center
                self.sums[fold] += z.sum(axis=0)
                self.products[fold] += z.T @ z

    def fit(self, without: Collection[int], settings: Sequence[float]) -> list[Predictor]:
        """Fit on all folds but `without`, once per alpha."""
        kept = [fold for fold in range(self.passes.folds) if fold not in without]
        rows = int(self.counts[kept].sum())
        total = self.sums[kept].sum(axis=0)
        covariance = -np.outer(total, total / rows)
        for fold in kept:
            covariance += self.products[fold]
        mean = self.center + total / rows
        scale = scale_of(np.diag(covariance)[:-1] / rows, mean[:-1], rows)
        target = covariance[:-1, -1] / scale
        values, vectors = np.linalg.eigh(covariance[:-1, :-1] / scale[:, None] / scale)
        turned = vectors.T @ target
        weights = [vectors @ (turned / (np.maximum(values, 0.0) + alpha)) / scale for alpha in settings]
        return [Linear(one[:, None], np.array([mean[-1] - mean[:-1] @ one])) for one in weights]

    def scores(self, predictors: Sequence[Predictor], fold: int) -> list[Array]:
        """(n, K) scores of the clean rows of one fold, by each predictor."""
        return self.passes.scores(predictors, fold)

    @staticmethod
    def bytes_needed(features: int, folds: int) -> int:
        """Memory for the sums of products and one decomposition, in bytes."""
        return (folds + 5) * 8 * (features + 1) ** 2
