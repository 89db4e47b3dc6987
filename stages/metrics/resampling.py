"""The metrics over bootstrap samples, for all samples at once.

A sample is the number of times that each song was drawn. All metrics follow from these counts: sums are weighted by
them, and ranks are sums of counts in the order of the values, which is sorted once. The numbers are those of
`score_metrics` on the drawn rows, up to rounding.
"""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stages.metrics.agreement import METRICS, THRESHOLDS, Array

# By dimension (and `mean`) and by metric: one value per bootstrap sample.
Samples = dict[str, dict[str, NDArray[np.float64]]]
DRAWS = 1000
# Numbers per array: samples beyond it are computed in turn, so that memory is bounded.
_MOST = 1 << 22
# Rows of the matrix of all pairs of songs that are in memory at once.
_ROWS = 1024


def drawn_counts(songs: int, *, draws: int = DRAWS, seed: int = 0) -> Iterator[NDArray[np.float64]]:
    """Draw `songs` of so many songs, with replacement, `draws` times.

    Yields
    ------
    float64 (K, songs)
        How often each song was drawn in the next K samples. The same arguments give the same samples.
    """
    if draws * songs <= _MOST:
        yield _all_counts(songs, draws, seed)
        return
    generator = np.random.default_rng(seed)
    most = max(1, _MOST // songs)
    for start in range(0, draws, most):
        yield _counts(generator, songs, min(most, draws - start))


@lru_cache(maxsize=2)  # two: a comparison without pairs draws from two sets, for one dimension after the other
def _all_counts(songs: int, draws: int, seed: int) -> NDArray[np.float64]:
    counts = _counts(np.random.default_rng(seed), songs, draws)
    counts.flags.writeable = False
    return counts


def _counts(generator: np.random.Generator, songs: int, draws: int) -> NDArray[np.float64]:
    rows = [np.bincount(generator.integers(songs, size=songs), minlength=songs) for _ in range(draws)]
    return np.array(rows, np.float64)


def resampled_metrics(
    ratings: Array, predicted: Array, *, dimensions: Sequence[str], draws: int = DRAWS, seed: int = 0
) -> Samples:
    """The metrics of `score_metrics` over bootstrap samples of rows, the same rows for all dimensions and metrics.

    Parameters
    ----------
    ratings, predicted
        (N, D).
    draws
        Bootstrap samples. Equal N, draws and seed give the same samples, so that two heads can be compared.
    """
    ratings, predicted = np.asarray(ratings), np.asarray(predicted)
    high = [THRESHOLDS[name] for name in dimensions]
    columns = [(_column(ratings[:, d], high[d]), _column(predicted[:, d], high[d])) for d in range(len(dimensions))]
    parts = [
        [_metrics(counts, *pair) for pair in columns] for counts in drawn_counts(len(ratings), draws=draws, seed=seed)
    ]
    table = {
        name: {metric: np.concatenate([part[d][metric] for part in parts]) for metric in METRICS}
        for d, name in enumerate(dimensions)
    }
    table["mean"] = {metric: np.mean([row[metric] for row in table.values()], axis=0) for metric in METRICS}
    return table


class _Column(NamedTuple):
    """N songs: their values, their order by value, in that order the start of each group of equal values, the group of
    each song, and whether its value reaches the threshold (0 or 1)."""

    values: NDArray[np.float64]
    order: NDArray[np.intp]
    starts: NDArray[np.intp]
    group: NDArray[np.intp]
    high: NDArray[np.float64]


def _column(values: Array, threshold: float) -> _Column:
    plain = values.astype(np.float64)
    distinct, group = np.unique(plain, return_inverse=True)
    order = np.argsort(group, kind="stable")
    starts = np.searchsorted(group[order], np.arange(len(distinct)))
    # Centred, so that sums of squares keep their digits.
    return _Column(plain - plain.mean(), order, starts, group, (values >= threshold).astype(np.float64))


def _metrics(counts: NDArray[np.float64], rated: _Column, scored: _Column) -> dict[str, NDArray[np.float64]]:
    """Each metric over K samples, from counts (K, N)."""
    groups = [np.add.reduceat(counts[:, column.order], column.starts, axis=1) for column in (rated, scored)]
    constant = np.any([np.count_nonzero(each, axis=1) < 2 for each in groups], axis=0)
    # The mean rank of a group: the songs before it, and half of its own.
    ranks = [
        (np.cumsum(each, axis=1) - (each - 1) / 2)[:, column.group]
        for each, column in zip(groups, (rated, scored), strict=True)
    ]
    both = 2 * (counts @ (rated.high * scored.high))
    reached = counts @ (rated.high + scored.high)
    return {
        "LCC": np.where(constant, 0.0, _correlations(counts, rated.values, scored.values)),
        "SRCC": np.where(constant, 0.0, _correlations(counts, *ranks)),
        "KTAU": np.where(constant, 0.0, _taus(counts, rated, scored, groups)),
        "TTA": np.divide(both, reached, out=np.zeros_like(both), where=reached > 0),
    }


def _correlations(counts: NDArray[np.float64], x: Array, y: Array) -> NDArray[np.float64]:
    """Pearson's correlation of (N,) or (K, N) values, weighted by counts (K, N)."""
    songs = counts.shape[1]
    x, y = (values - np.sum(counts * values, axis=1, keepdims=True) / songs for values in (x, y))
    product, xx, yy = (np.einsum("kn,kn,kn->k", counts, a, b) for a, b in ((x, y), (x, x), (y, y)))
    return _bounded(product, np.sqrt(xx) * np.sqrt(yy))


def _taus(
    counts: NDArray[np.float64], rated: _Column, scored: _Column, groups: Sequence[NDArray[np.float64]]
) -> NDArray[np.float64]:
    """Kendall's τ-b: concordant minus discordant pairs, over the pairs that are not tied in each of the two."""
    songs = counts.shape[1]
    balance = np.zeros(len(counts))
    for rows in (slice(start, start + _ROWS) for start in range(0, songs, _ROWS)):
        signs = [np.sign(column.group[rows, None] - column.group) for column in (rated, scored)]
        balance += np.einsum("kn,kn->k", counts @ (signs[0] * signs[1]).T.astype(np.float64), counts[:, rows])
    untied = [songs**2 - np.einsum("kg,kg->k", each, each) for each in groups]
    return _bounded(balance, np.sqrt(untied[0]) * np.sqrt(untied[1]))


def _bounded(value: NDArray[np.float64], over: NDArray[np.float64]) -> NDArray[np.float64]:
    """A quotient between −1 and 1; 0 where it is not defined."""
    return np.clip(np.divide(value, over, out=np.zeros_like(value), where=over > 0), -1.0, 1.0)
