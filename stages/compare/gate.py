"""Conditions on the first system of a comparison, for continuous integration: limits, and a baseline."""

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from stages.compare.comparison import ERROR, FORMAT, SCORE, Comparison, Figure
from stages.head.errors import HeadError
from stages.head.files import read_object
from stages.metrics.paired import holm
from stages.metrics.unpaired import LEVEL, NORMAL_95
from stages.scoring.errors import ScoringError
from store.files.json_text import brief

# With fewer songs, intervals are too rough for a test with a report.
FEWEST_SONGS = 10
Figures = Mapping[tuple[str, str], Figure]


def below_limits(comparison: Comparison, limits: Mapping[str, float]) -> list[str]:
    """Describe each figure of the first system that is below its limit, one line each.

    Parameters
    ----------
    limits
        By the figure's name: `Musicality` or `Mean` for scores; `SRCC`, which is the mean over dimensions, or
        `Clarity.SRCC` for heads.

    Raises
    ------
    ScoringError
        There is no such figure.
    """
    first = comparison.systems[0]
    known = {name: figure for key, figure in _figures(comparison).items() for name in _names(*key) if key[1] != ERROR}
    if len(first.figures) == 1 and comparison.kind == "heads":  # its only dimension is the mean
        known |= {key[1]: figure for key, figure in _figures(comparison).items() if key[1] != ERROR}
    lines = []
    for name, limit in limits.items():
        if name not in known:
            raise ScoringError(f"no figure is named {name!r}; expected one of {', '.join(known)}")
        value = known[name].value
        if value < limit:
            lines.append(f"{first.name}: {name} is {value:.3f}, expected at least {limit:g}")
    return lines


def _names(dimension: str, metric: str) -> Iterator[str]:
    yield dimension if metric == SCORE else f"{dimension}.{metric}"
    if dimension == "mean":
        yield metric


def _figures(comparison: Comparison) -> Figures:
    found = comparison.systems[0].figures.items()
    return {(dimension, metric): figure for dimension, row in found for metric, figure in row.items()}


def worse_than(comparison: Comparison, baseline: str) -> list[str]:
    """Describe each figure of the first system that is significantly worse than the baseline's, one line each.

    Parameters
    ----------
    baseline
        Another system of this comparison, by its name; or a report, which is JSON of `compare` or of `evaluate`. The
        tests with a report take both intervals as independent, corrected over all figures (Holm 1979): on the same
        songs, that finds less than a comparison of the two systems.

    Raises
    ------
    ScoringError
        It is neither; or the report has other figures, or either side has fewer songs than `FEWEST_SONGS`.
    """
    first = comparison.systems[0]
    if baseline in [each.name for each in comparison.systems[1:]]:
        pair = {first.name, baseline}
        return [
            each.conclusion
            for each in comparison.differences
            if {each.first, each.second} == pair and each.better == baseline
        ]
    ours, (theirs, songs) = _figures(comparison), _read(Path(baseline), comparison)
    if min(first.songs, songs) < FEWEST_SONGS:
        raise ScoringError(
            f"{baseline}: a test with a report takes {FEWEST_SONGS} songs or more on both sides, found {first.songs} "
            f"of {first.name} and {songs} in the report; name the other system's scores or head instead"
        )
    shared = [key for key in ours if key in theirs]
    if not shared:
        found = ", ".join(f"{dimension} {metric}" for dimension, metric in theirs)
        raise ScoringError(f"{baseline}: has none of the figures of {first.name}, found {found}; use another report")
    adjusted = holm([_p(ours[key], theirs[key]) for key in shared])
    lines = []
    for key, p in zip(shared, adjusted, strict=True):
        change = ours[key].value - theirs[key].value
        if p < LEVEL and (change < 0) != (key[1] == ERROR):
            name = key[0] if key[1] == SCORE else f"{key[1]} on {key[0]}"
            values = f"{ours[key].value:.3f}, was {theirs[key].value:.3f}, p = {p:.2g}"
            lines.append(f"{first.name} is worse than {baseline}: {name} is {values}")
    return lines


def _p(ours: Figure, theirs: Figure) -> float:
    """Two-sided p-value of a difference of two independent figures, from the widths of their intervals."""
    error = math.hypot(ours.high - ours.low, theirs.high - theirs.low) / (2 * NORMAL_95)
    change = abs(ours.value - theirs.value)
    return math.erfc(change / error / math.sqrt(2)) if error else float(change == 0)


def _read(path: Path, comparison: Comparison) -> tuple[Figures, int]:
    """Figures and number of songs of a report: of `compare`, of the system with the same name or its only one; or of
    `evaluate`."""
    others = ", ".join(each.name for each in comparison.systems[1:])
    systems = f", or the name of another system, {others}" if others else ""
    expected = f"a report of hear-head compare --out or hear-head evaluate --out{systems}"
    try:
        values = read_object(path)
    except HeadError as error:
        raise ScoringError(f"{error}; expected {expected}") from error
    try:
        if values.get("format") == FORMAT:
            return _of_comparison(values, comparison.systems[0].name)
        figures = {
            (dimension, metric): _figure(value, values["intervals"][dimension][metric])
            for dimension, row in values["utterance"].items()
            for metric, value in row.items()
        }
        return figures, int(values["songs"])
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        reason = f"lacks {error}" if isinstance(error, KeyError) else brief(str(error))
        raise ScoringError(f"{path}: cannot be read as a report: {reason}; expected {expected}") from error


def _of_comparison(values: Mapping[str, Any], name: str) -> tuple[Figures, int]:
    systems = {each["name"]: each for each in values["systems"]}
    if name not in systems and len(systems) > 1:
        raise ValueError(f"no system is named {name!r}, found {', '.join(systems)}")
    chosen = systems.get(name) or next(iter(systems.values()))
    figures = {
        (dimension, metric): _figure(figure["value"], (figure["low"], figure["high"]))
        for dimension, row in chosen["figures"].items()
        for metric, figure in row.items()
    }
    return figures, int(chosen["songs"])


def _figure(value: float, ends: Sequence[float]) -> Figure:
    return Figure(value=float(value), low=float(ends[0]), high=float(ends[1]))
