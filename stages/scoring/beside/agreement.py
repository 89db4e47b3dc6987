"""Do the models agree? Rank correlations, and the songs that they place most differently."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.metrics.agreement import srcc
from stages.scoring.rows import SongScore
from stages.scoring.statistics import OVERALL

# A rank correlation of fewer songs says nothing.
FEWEST_SONGS = 3

# By model and its dimension, then by our dimension: Spearman's correlation, None where one side is constant.
Agreement = dict[str, dict[str, dict[str, float | None]]]


def beside_columns(rows: Sequence[SongScore]) -> list[tuple[str, str]]:
    """The models beside ours and their dimensions, each model's together, in the order of the rows."""
    found: dict[str, dict[str, None]] = {}
    for row in rows:
        for model, scores in row.beside.items():
            found.setdefault(model, {}).update(dict.fromkeys(scores))
    return [(model, name) for model, names in found.items() for name in names]


def agreement(rows: Sequence[SongScore]) -> Agreement:
    """Rank correlation of each dimension of each other model with each of ours, and with our mean if we have several.

    Songs count that have both scores. Models and dimensions with fewer than three such songs are left out.
    """
    found: Agreement = {}
    for model, name in beside_columns(rows):
        both = [row for row in rows if row.scores and name in row.beside.get(model, {})]
        if len(both) >= FEWEST_SONGS:
            theirs = np.array([row.beside[model][name] for row in both])
            ours = {one: np.array([row.scores[one] for row in both]) for one in both[0].scores}
            if len(ours) > 1:
                ours[OVERALL] = np.array([row.overall for row in both])
            found.setdefault(model, {})[name] = {one: _srcc(values, theirs) for one, values in ours.items()}
    return found


def _srcc(ours: NDArray[np.float64], theirs: NDArray[np.float64]) -> float | None:
    return srcc(ours, theirs) if np.ptp(ours) and np.ptp(theirs) else None


@dataclass(frozen=True)
class Disagreement:
    """A song's place among `songs` songs by our mean and by another model; the best is 1, ties share the mean place.

    The other model's place is by the mean of the song's places in its dimensions, because these may have any scales.
    """

    row: SongScore
    ours: float
    theirs: float
    songs: int


def disagreements(rows: Sequence[SongScore], model: str, *, most: int = 3) -> list[Disagreement]:
    """The songs whose places differ most, by more than one, largest difference first."""
    from scipy.stats import rankdata

    names = [name for other, name in beside_columns(rows) if other == model]
    both = [row for row in rows if row.scores and row.beside.get(model, {}).keys() >= set(names)]
    if not names or len(both) < FEWEST_SONGS:
        return []
    ours = rankdata([-row.overall for row in both])
    places = [rankdata([-row.beside[model][name] for row in both]) for name in names]
    theirs = rankdata(np.mean(places, axis=0))
    order = np.argsort(-np.abs(ours - theirs), kind="stable")[:most]
    found = [Disagreement(both[one], float(ours[one]), float(theirs[one]), len(both)) for one in order]
    return [one for one in found if abs(one.ours - one.theirs) > 1]


def beside_json(rows: Sequence[SongScore], scales: Mapping[str, tuple[float, float]]) -> dict[str, Any]:
    """The report's data: {model: {dimension: {"scale": [lowest, highest] or null, "srcc": {ours: value or null}}}}.

    `srcc` is empty for fewer than three songs.
    """
    correlations = agreement(rows)
    found: dict[str, dict[str, Any]] = {}
    for model, name in beside_columns(rows):
        known = {one: _rounded(value) for one, value in correlations.get(model, {}).get(name, {}).items()}
        scale = list(scales[model]) if model in scales else None
        found.setdefault(model, {})[name] = {"scale": scale, "srcc": known}
    return found


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
