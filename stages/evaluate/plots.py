"""Plots of predicted scores against ratings, and of calibration: the mean rating of songs with a given score."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stages.common.figures import plain_text, shortened, wrapped
from stages.evaluate.evaluation import Evaluation
from stages.metrics.agreement import Array

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LOWEST, HIGHEST = 1.0, 5.0
BINS = 8
# The mean of fewer songs is noise.
FEWEST_IN_A_BIN = 5
# Space around the scale, for points on its ends and for error bars.
MARGIN = 0.12
# Characters of a title above one panel, and above a row of them per panel.
_NAME, _PANEL = 30, 44
_BLUE, _GREY, _RED = "#0072B2", "#777777", "#B00020"


class CalibrationPoint(NamedTuple):
    """One bin of predicted scores: mean score, mean rating and its standard error, and the number of songs."""

    dimension: str
    predicted: float
    rated: float
    error: float
    songs: int


def calibration(ratings: Array, predicted: Array, dimensions: Sequence[str]) -> list[CalibrationPoint]:
    """Bin songs into equal parts by predicted score, per dimension: a calibrated head's bins lie on the diagonal.

    Parameters
    ----------
    ratings, predicted
        (N, D); there are at most `BINS` bins, of at least `FEWEST_IN_A_BIN` songs each if there are so many.
    """
    bins = max(1, min(BINS, len(ratings) // FEWEST_IN_A_BIN))
    points = []
    for number, name in enumerate(dimensions):
        for songs in np.array_split(np.argsort(predicted[:, number], kind="stable"), bins):
            rated, scored = ratings[songs, number], predicted[songs, number]
            error = float(rated.std(ddof=1) / math.sqrt(len(songs))) if len(songs) > 1 else 0.0
            points.append(CalibrationPoint(name, float(scored.mean()), float(rated.mean()), error, len(songs)))
    return points


@plain_text()
def draw_scatter(path: Path, evaluation: Evaluation) -> None:
    """Draw predicted scores against ratings, one panel per dimension, as PNG."""
    ratings = evaluation.corpus.ratings
    title = f"{shortened(evaluation.split, 40)}: predicted against rated, {len(ratings)} songs"
    figure, panels = _panels(evaluation.dimensions, title, evaluation.caution)
    limits = _limits(ratings, evaluation.predicted)
    for number, (name, axes) in enumerate(zip(evaluation.dimensions, panels, strict=True)):
        axes.plot(
            ratings[:, number],
            evaluation.predicted[:, number],
            "o",
            color=_BLUE,
            alpha=0.55,
            markersize=4,
            markeredgewidth=0,
        )
        row = evaluation.utterance[name]
        axes.set_title(f"{shortened(name, _NAME)}\nLCC {row['LCC']:.2f}, SRCC {row['SRCC']:.2f}", fontsize=10)
        _label(axes, x="rated", y="predicted", limits=limits)
    figure.savefig(path, format="png")


@plain_text()
def draw_calibration(
    path: Path, points: Sequence[CalibrationPoint], dimensions: Sequence[str], *, caution: str = ""
) -> None:
    """Draw each bin's mean rating and standard error against its mean score, one panel per dimension, as PNG."""
    title = "calibration: equal parts of the songs by predicted score, ± standard error"
    figure, panels = _panels(dimensions, title, caution)
    ends = np.array([[p.rated - p.error, p.rated + p.error, p.predicted] for p in points])
    limits = _limits(ends)
    for name, axes in zip(dimensions, panels, strict=True):
        bins = [point for point in points if point.dimension == name]
        scored, rated = np.array([p.predicted for p in bins]), np.array([p.rated for p in bins])
        axes.errorbar(scored, rated, [p.error for p in bins], fmt="o-", color=_BLUE, markersize=5, capsize=2)
        axes.set_title(f"{shortened(name, _NAME)}\noff by {_distance(bins):.2f} on average", fontsize=10)
        _label(axes, x="predicted, mean of a bin", y="rated, mean of a bin", limits=limits)
    figure.savefig(path, format="png")


def _distance(points: Sequence[CalibrationPoint]) -> float:
    """Mean distance from the diagonal over all songs."""
    return float(np.average([abs(p.predicted - p.rated) for p in points], weights=[p.songs for p in points]))


def _panels(dimensions: Sequence[str], title: str, caution: str) -> "tuple[Figure, list[Any]]":
    # Not pyplot, which keeps figures and needs a display's backend.
    from matplotlib.figure import Figure

    columns = min(3, len(dimensions))
    rows = math.ceil(len(dimensions) / columns)
    figure = Figure(figsize=(0.6 + 3.6 * columns, 0.6 + 3.75 * rows), dpi=110, layout="constrained")
    figure.suptitle(wrapped(title, _PANEL * columns), fontsize=11)
    if caution:
        figure.supxlabel(wrapped(caution, _PANEL * columns), fontsize=10, color=_RED)
    grid = figure.subplots(rows, columns, squeeze=False).flatten()
    for unused in grid[len(dimensions) :]:
        unused.remove()
    return figure, list(grid[: len(dimensions)])


def _limits(*values: NDArray[np.floating]) -> tuple[float, float]:
    """The ends of all panels' axes: whole numbers around the values, within the scale unless an error bar leaves it."""
    least, most = min(float(one.min()) for one in values), max(float(one.max()) for one in values)
    low = max(LOWEST, math.floor(least)) - MARGIN
    return min(low, least - MARGIN / 2), max(HIGHEST + MARGIN, most + MARGIN / 2)


def _label(axes: Any, *, x: str, y: str, limits: tuple[float, float]) -> None:
    axes.plot(limits, limits, color=_GREY, linewidth=1, linestyle="--", zorder=0)
    ticks = np.arange(math.ceil(limits[0]), math.floor(limits[1]) + 1)
    axes.set(xlim=limits, ylim=limits, xticks=ticks, yticks=ticks, xlabel=x, ylabel=y, aspect="equal")
    axes.grid(alpha=0.25)
