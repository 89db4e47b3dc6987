"""A batch of scores in a few numbers: its distribution, its groups and its best."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from stages.scoring.rows import SongScore

# The column beside the dimensions: their mean.
OVERALL = "Mean"


@dataclass(frozen=True, kw_only=True)
class Distribution:
    """Where the N scores of a batch lie: mean, median, and 5th and 95th percentile (linear between songs)."""

    songs: int
    mean: float
    median: float
    p5: float
    p95: float


def distributions(rows: Sequence[SongScore]) -> dict[str, Distribution]:
    """The distribution of each dimension, and of the mean over dimensions where there are several.

    Songs that failed do not count; nothing is returned where all did.
    """
    return {name: _distribution(values) for name, values in columns(rows).items()}


def columns(rows: Sequence[SongScore]) -> dict[str, list[float]]:
    """Scores of the songs that have some, by dimension, with `OVERALL` last where there are several dimensions."""
    scored = [row for row in rows if row.scores]
    if not scored:
        return {}
    dimensions = list(scored[0].scores)
    values = {name: [row.scores[name] for row in scored] for name in dimensions}
    return {**values, OVERALL: [row.overall for row in scored]} if len(dimensions) > 1 else values


def _distribution(values: Sequence[float]) -> Distribution:
    p5, median, p95 = map(float, np.percentile(values, [5, 50, 95]))
    return Distribution(songs=len(values), mean=float(np.mean(values)), median=median, p5=p5, p95=p95)


def by_group(rows: Sequence[SongScore]) -> dict[str, Mapping[str, Distribution]]:
    """Distributions of each group, best mean first; songs without a group come under the empty name."""
    groups: dict[str, list[SongScore]] = {}
    for row in rows:
        if row.scores:
            groups.setdefault(row.group, []).append(row)
    ranked = sorted(groups.items(), key=lambda item: -float(np.mean([row.overall for row in item[1]])))
    return {name: distributions(members) for name, members in ranked}


def best(rows: Sequence[SongScore], count: int, *, worst: bool = False) -> list[SongScore]:
    """The `count` best songs by their mean score, best first; or the worst, worst first; ties keep their order."""
    scored = [row for row in rows if row.scores]
    return sorted(scored, key=lambda row: row.overall if worst else -row.overall)[:count]
