"""Gaps between groups of songs, such as genres: in the head's error where ratings exist, and in how changes act."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.metrics.unpaired import difference_interval
from stages.robustness.effects import FEWEST_SONGS, StressResult
from stages.songs import Manifest

SCORE, ERROR, DAMAGE = "score", "score minus rating", "change by damage"


@dataclass(frozen=True, kw_only=True)
class GroupGap:
    """One quantity of one group against the other songs.

    Attributes
    ----------
    group, songs, quantity
        The group, its number of songs, and the name of the quantity.
    mean, rest
        Its mean over the group's songs, and over the other songs.
    low, high
        95 % interval of mean minus rest: percentile bootstrap, in the group and in the rest.
    """

    group: str
    songs: int
    quantity: str
    mean: float
    rest: float
    low: float
    high: float

    @property
    def concern(self) -> bool:
        """Whether the group has `FEWEST_SONGS` songs or more, and the interval does not include 0."""
        return self.songs >= FEWEST_SONGS and (self.low > 0 or self.high < 0)

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        names = ("group", "songs", "quantity", "mean", "rest", "low", "high", "concern")
        return {name: getattr(self, name) for name in names}


def group_gaps(result: StressResult, groups: Mapping[str, str], manifest: Manifest) -> list[GroupGap]:
    """Compare each group with all other songs, in the mean over the head's dimensions.

    Where every compared song has ratings, a gap in the score alone may be right, so the score minus the rating counts.
    Songs without a group are left out.

    Parameters
    ----------
    groups
        Song → group.
    """
    dimensions = result.dimensions[:-1] or result.dimensions  # without their mean
    labels = {song.song_id: song.labels for song in manifest.songs}
    songs = [number for number, song in enumerate(result.songs) if groups.get(song)]
    rated = [number for number in songs if labels.get(result.songs[number], {}).keys() >= set(dimensions)]
    scores = result.original[:, -1]
    quantities: list[tuple[str, NDArray[np.float64], list[int]]] = [(SCORE, scores, songs)]
    if rated:
        ratings = np.full(len(scores), np.nan)
        for number in rated:
            ratings[number] = np.mean([labels[result.songs[number]][name] for name in dimensions])
        quantities.append((ERROR, scores - ratings, rated))
    falls = _damage(result)
    if falls is not None:
        quantities.append((DAMAGE, falls, [number for number in songs if np.isfinite(falls[number])]))
    return [
        gap
        for quantity, values, kept in quantities
        for gap in _gaps(quantity, values[kept], [groups[result.songs[number]] for number in kept])
    ]


def _damage(result: StressResult) -> NDArray[np.float64] | None:
    """Each song's mean change over all damage and structural changes at their last strength; None without any."""
    last = {curve.change.name: curve.effects[-1].strength for curve in result.curves if curve.change.kind != "nuisance"}
    if not last:
        return None
    return np.asarray(np.mean([result.changed[key][:, -1] - result.original[:, -1] for key in last.items()], axis=0))


def _gaps(quantity: str, values: NDArray[np.float64], groups: Sequence[str]) -> list[GroupGap]:
    names, found = np.array(groups), []
    for name in sorted(set(groups)):
        mine, rest = values[names == name], values[names != name]
        if len(rest):
            low, high = difference_interval(mine, rest)
            mean, other = float(mine.mean()), float(rest.mean())
            gap = GroupGap(group=name, songs=len(mine), quantity=quantity, mean=mean, rest=other, low=low, high=high)
            found.append(gap)
    return found
