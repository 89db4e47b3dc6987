"""How far each change moves a score: paired differences from the unchanged song, and what is of concern about them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.metrics.paired import PairedDifference, holm, paired_difference
from stages.robustness.changes import Change, record_id
from stages.robustness.errors import StressError
from stages.scoring.rows import SongScore
from stages.scoring.statistics import OVERALL

# A nuisance may move a score by this much on the scale from 1 to 5: just above the 0.043 by which playing a song 1.6
# times as loud moves SongEval's published head (MuQ-Eval).
TOLERANCE = 0.05
# With fewer songs, a bootstrap interval is too narrow, and Wilcoxon's test cannot fall below p = 0.05.
FEWEST_SONGS = 6


@dataclass(frozen=True)
class Effect:
    """How one change, at one strength, moves one score: changed minus original, over songs.

    `adjusted_p` is Wilcoxon's p-value after Holm's correction over the whole matrix.
    """

    change: Change
    strength: float
    dimension: str
    difference: PairedDifference
    adjusted_p: float = 1.0

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        found = self.difference
        return {
            "change": self.change.name,
            "kind": self.change.kind,
            "strength": self.strength,
            "unit": self.change.unit,
            "dimension": self.dimension,
            "songs": found.pairs,
            "mean": found.mean,
            "low": found.low,
            "high": found.high,
            "p": found.p,
            "p_holm": self.adjusted_p,
            "share_higher": found.win_rate,
        }


@dataclass(frozen=True)
class Curve:
    """One change over its strengths, for one score.

    Attributes
    ----------
    effects
        From mild to strong.
    monotonicity
        Spearman's correlation of strength and change over songs and strengths; −1 means that every song's score falls
        with every step. None for a single strength, or if no score changes.
    concern
        `moves`, `rises` or `does not fall`; empty if the score does what it should.
    """

    change: Change
    dimension: str
    effects: tuple[Effect, ...]
    monotonicity: float | None
    concern: str

    @property
    def strongest(self) -> Effect:
        """The effect at the last strength; of a nuisance, the one that moves the score most."""
        if self.change.kind == "nuisance":
            return max(self.effects, key=lambda effect: abs(effect.difference.mean))
        return self.effects[-1]

    @property
    def severity(self) -> float:
        """Larger is worse: how far a nuisance moves the score, or how far damage fails to lower it."""
        mean = self.strongest.difference.mean
        return abs(mean) if self.change.kind == "nuisance" else mean


@dataclass(frozen=True)
class StressResult:
    """The measured effects of all changes.

    Attributes
    ----------
    songs
        The N songs whose unchanged record has a score.
    dimensions
        Names of the D scores; if there are several, the last is their mean.
    curves
        By change, and then by dimension.
    original
        Scores (N, D) of the unchanged songs.
    changed
        (Change, strength) → scores (N, D) of the changed songs; NaN where a record failed.
    tolerance
        As for `measure`.
    """

    songs: tuple[str, ...]
    dimensions: tuple[str, ...]
    curves: tuple[Curve, ...]
    original: NDArray[np.float64]
    changed: Mapping[tuple[str, float], NDArray[np.float64]]
    tolerance: float

    @property
    def ranked(self) -> list[Curve]:
        """The curves of the last dimension, those of concern first, then by severity."""
        shown = [curve for curve in self.curves if curve.dimension == self.dimensions[-1]]
        return sorted(shown, key=lambda curve: (not self.concerns(curve.change), -curve.severity))

    def concerns(self, change: Change) -> list[Curve]:
        """The curves of a change that are of concern."""
        return [curve for curve in self.curves if curve.change.name == change.name and curve.concern]


def measure(
    rows: Mapping[str, SongScore], songs: Sequence[str], changes: Sequence[Change], *, tolerance: float = TOLERANCE
) -> StressResult:
    """Compare the scores of changed songs with those of the unchanged ones.

    Parameters
    ----------
    rows
        Rows by record id; rows with an error do not count.
    songs
        Ids of the songs.
    tolerance
        Largest mean change by a nuisance that is of no concern.

    Raises
    ------
    StressError
        No song has a score.
    """
    scored = [song for song in songs if _values(rows, record_id(song)) is not None]
    if not scored:
        raise StressError("no song could be scored unchanged, so there is nothing to compare; see the errors above")
    first = rows[record_id(scored[0])]
    dimensions = (*first.scores, OVERALL) if len(first.scores) > 1 else tuple(first.scores)
    missing = np.full(len(dimensions), np.nan)
    original = np.array([_values(rows, record_id(song)) for song in scored])
    changed: dict[tuple[str, float], NDArray[np.float64]] = {}
    for change in changes:
        for strength in change.strengths:
            found = [_values(rows, record_id(song, change, strength)) for song in scored]
            scores = np.array([missing if one is None else one for one in found])
            if np.isfinite(scores).any():
                changed[change.name, strength] = scores
    effects = _effects(changes, dimensions, original, changed)
    curves = tuple(
        _curve(change, name, number, effects, original, changed, tolerance)
        for change in changes
        for number, name in enumerate(dimensions)
        if any((change.name, strength) in changed for strength in change.strengths)
    )
    return StressResult(tuple(scored), dimensions, curves, original, changed, tolerance)


def _values(rows: Mapping[str, SongScore], record: str) -> list[float] | None:
    """A record's scores, and their mean if there are several."""
    row = rows.get(record)
    if row is None or not row.scores:
        return None
    return [*row.scores.values(), row.overall] if len(row.scores) > 1 else list(row.scores.values())


def _effects(
    changes: Sequence[Change],
    dimensions: Sequence[str],
    original: NDArray[np.float64],
    changed: Mapping[tuple[str, float], NDArray[np.float64]],
) -> list[Effect]:
    found = []
    steps = [(change, strength) for change in changes for strength in change.strengths]
    for change, strength in steps:
        if (scores := changed.get((change.name, strength))) is None:
            continue
        for number, name in enumerate(dimensions):
            known = np.isfinite(scores[:, number])
            difference = paired_difference(scores[known, number], original[known, number])
            found.append(Effect(change, strength, name, difference))
    adjusted = holm([effect.difference.p for effect in found])
    return [replace(effect, adjusted_p=float(p)) for effect, p in zip(found, adjusted, strict=True)]


def _curve(
    change: Change,
    name: str,
    number: int,
    effects: Sequence[Effect],
    original: NDArray[np.float64],
    changed: Mapping[tuple[str, float], NDArray[np.float64]],
    tolerance: float,
) -> Curve:
    mine = tuple(effect for effect in effects if effect.change.name == change.name and effect.dimension == name)
    moved = [changed[change.name, effect.strength][:, number] - original[:, number] for effect in mine]
    found = Curve(change, name, mine, _monotonicity(moved), "")
    return replace(found, concern=_concern(found, tolerance))


def _monotonicity(moved: Sequence[NDArray[np.float64]]) -> float | None:
    from scipy.stats import spearmanr

    steps = np.concatenate([np.full(len(values), step) for step, values in enumerate(moved)])
    values = np.concatenate(list(moved))
    known = np.isfinite(values)
    if np.ptp(steps) == 0 or not known.any() or np.ptp(values[known]) == 0:
        return None
    return float(spearmanr(steps[known], values[known]).statistic)


def _concern(curve: Curve, tolerance: float) -> str:
    """What is of concern about a curve; empty if nothing is."""
    if curve.change.kind != "nuisance":
        found = curve.strongest.difference
        if found.high < 0:
            return ""
        return "rises" if found.mean > 0 and _moves(found, tolerance) else "does not fall"
    moving = [effect.difference for effect in curve.effects if _moves(effect.difference, tolerance)]
    return "moves" if moving else ""


def _moves(found: PairedDifference, tolerance: float) -> bool:
    return abs(found.mean) > tolerance and (found.low > 0 or found.high < 0)
