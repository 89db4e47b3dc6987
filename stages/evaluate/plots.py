"""Plots of predicted scores against ratings, and of calibration: the mean rating of songs with a given score."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stages.common.figures import plain_text
from stages.evaluate.evaluation import Evaluation
from stages.metrics.agreement import Array
from store.files.visible import visible

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LOWEST, HIGHEST = 1.0, 5.0
BINS = 8
# The mean of fewer songs is noise.
FEWEST_IN_A_BIN = 5
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
    figure, panels = _panels(evaluation.dimensions)
    for number, (name, axes) in enumerate(zip(evaluation.dimensions, panels, strict=True)):
        rated, predicted = evaluation.corpus.ratings[:, number], evaluation.predicted[:, number]
        axes.plot(rated, predicted, "o", color=_BLUE, alpha=0.55, markersize=4, markeredgewidth=0)
        row = evaluation.utterance[name]
        axes.set_title(f"{visible(name)}: LCC {row['LCC']:.2f}, SRCC {row['SRCC']:.2f}", fontsize=10)
        _label(axes, x="rated", y="predicted", low=_lowest(rated, predicted))
    figure.suptitle(
        f"{visible(evaluation.split)}: predicted against rated, {len(evaluation.corpus.songs)} songs", fontsize=11
    )
    _warn(figure, evaluation.caution)
    figure.savefig(path, format="png")


@plain_text()
def draw_calibration(
    path: Path, points: Sequence[CalibrationPoint], dimensions: Sequence[str], *, caution: str = ""
) -> None:
    """Draw each bin's mean rating and standard error against its mean score, one panel per dimension, as PNG."""
    figure, panels = _panels(dimensions)
    for name, axes in zip(dimensions, panels, strict=True):
        bins = [point for point in points if point.dimension == name]
        scored, rated = np.array([p.predicted for p in bins]), np.array([p.rated for p in bins])
        axes.errorbar(scored, rated, [p.error for p in bins], fmt="o-", color=_BLUE, markersize=5, capsize=2)
        axes.set_title(f"{visible(name)}: off by {_distance(bins):.2f} on average", fontsize=10)
        _label(axes, x="predicted, mean of a bin", y="rated, mean of a bin", low=_lowest(scored, rated))
    figure.suptitle("calibration: equal parts of the songs by predicted score, ± standard error", fontsize=11)
    _warn(figure, caution)
    figure.savefig(path, format="png")


def _warn(figure: "Figure", caution: str) -> None:
    if caution:
        figure.supxlabel(visible(caution), fontsize=10, color=_RED)


def _distance(points: Sequence[CalibrationPoint]) -> float:
    """Mean distance from the diagonal over all songs."""
    return float(np.average([abs(p.predicted - p.rated) for p in points], weights=[p.songs for p in points]))


def _panels(dimensions: Sequence[str]) -> "tuple[Figure, list[Any]]":
    # Not pyplot, which keeps figures and needs a display's backend.
    from matplotlib.figure import Figure

    columns = min(3, len(dimensions))
    rows = math.ceil(len(dimensions) / columns)
    figure = Figure(figsize=(0.6 + 3.6 * columns, 0.4 + 3.6 * rows), dpi=110, layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False).flatten()
    for unused in grid[len(dimensions) :]:
        unused.remove()
    return figure, list(grid[: len(dimensions)])


def _lowest(*values: NDArray[np.floating]) -> float:
    """The lower end of both axes: the whole number below the least value."""
    return max(LOWEST, math.floor(min(float(one.min()) for one in values)))


def _label(axes: Any, *, x: str, y: str, low: float) -> None:
    axes.plot([low, HIGHEST], [low, HIGHEST], color=_GREY, linewidth=1, linestyle="--", zorder=0)
    axes.set(xlim=(low, HIGHEST), ylim=(low, HIGHEST), xlabel=x, ylabel=y, aspect="equal")
    axes.grid(alpha=0.25)
