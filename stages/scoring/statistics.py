"""Statistics of a batch of scores: distributions, groups, and the best songs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from stages.metrics.bootstrap import interval
from stages.metrics.paired import resampled_means
from stages.metrics.resampling import DRAWS
from stages.scoring.rows import SongScore

# Name of the column for the mean over dimensions.
OVERALL = "Mean"
# The bootstrap of fewer songs gives intervals that are far too narrow.
FEWEST_FOR_INTERVAL = 5

Intervals = dict[str, tuple[float, float]]


@dataclass(frozen=True, kw_only=True)
class Distribution:
    """The distribution of a batch's scores: mean, median, and 5th and 95th percentiles (linear between songs)."""

    songs: int
    mean: float
    median: float
    p5: float
    p95: float


def distributions(rows: Sequence[SongScore]) -> dict[str, Distribution]:
    """The distribution of each dimension, and of the mean over dimensions if there are several.

    Failed songs do not count; if all failed, the result is empty.
    """
    scored = [row for row in rows if row.scores]
    if not scored:
        return {}
    found = {name: distribution([row.scores[name] for row in scored]) for name in scored[0].scores}
    return {**found, OVERALL: distribution([row.overall for row in scored])} if len(found) > 1 else found


def distribution(values: Sequence[float]) -> Distribution:
    """The distribution of one or more values."""
    p5, median, p95 = map(float, np.percentile(values, [5, 50, 95]))
    return Distribution(songs=len(values), mean=float(np.mean(values)), median=median, p5=p5, p95=p95)


def by_group(rows: Sequence[SongScore]) -> dict[str, Mapping[str, Distribution]]:
    """Distributions of each group, best mean first; songs without a group are under the empty name."""
    groups: dict[str, list[SongScore]] = {}
    for row in rows:
        if row.scores:
            groups.setdefault(row.group, []).append(row)
    ranked = sorted(groups.items(), key=lambda item: -float(np.mean([row.overall for row in item[1]])))
    return {name: distributions(members) for name, members in ranked}


def mean_intervals(rows: Sequence[SongScore], *, draws: int = DRAWS, seed: int = 0) -> dict[str, Intervals]:
    """95 % intervals of each group's means: percentile bootstrap over songs (Efron and Tibshirani 1993, §13).

    Returns
    -------
    dict[str, Intervals]
        By group, then by name as in `distributions`: (low, high). Groups of fewer than `FEWEST_FOR_INTERVAL` have none.
    """
    groups: dict[str, list[list[float]]] = {}
    names: list[str] = []
    for row in rows:
        if row.scores:
            names = list(row.scores)
            groups.setdefault(row.group, []).append([*row.scores.values(), row.overall])
    found: dict[str, Intervals] = {}
    for group, members in groups.items():
        keys = [*names, OVERALL] if len(names) > 1 else names
        enough = len(members) >= FEWEST_FOR_INTERVAL
        columns = zip(keys, np.array(members).T, strict=False) if enough else ()
        found[group] = {key: interval(resampled_means(column, draws=draws, seed=seed)) for key, column in columns}
    return found


def best(rows: Sequence[SongScore], count: int) -> list[SongScore]:
    """The `count` best songs by their mean score, best first; ties keep their order."""
    scored = [row for row in rows if row.scores]
    return sorted(scored, key=lambda row: -row.overall)[:count]
