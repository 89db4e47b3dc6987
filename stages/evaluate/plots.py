"""Predicted against rated, and calibration: what the ratings are of songs that were given a score."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stages.common.figures import plain_text
from stages.metrics.agreement import Ratings
from store.files.visible import visible

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from stages.evaluate.evaluation import Evaluation

LOWEST, HIGHEST = 1.0, 5.0
BINS = 8
# A bin's mean over fewer songs is noise.
FEWEST_IN_A_BIN = 5
_BLUE, _GREY, _RED = "#0072B2", "#777777", "#B00020"


class CalibrationPoint(NamedTuple):
    """The songs of one bin of predicted scores: means, the standard error of the rated one, and how many they are."""

    dimension: str
    predicted: float
    rated: float
    error: float
    songs: int


def calibration(rated: Ratings, predicted: Ratings, dimensions: Sequence[str]) -> list[CalibrationPoint]:
    """Songs in equal parts by predicted score, dimension by dimension: a calibrated head's bins lie on the diagonal.

    Parameters
    ----------
    rated, predicted
        (N, D) ratings; N songs make at most `BINS` bins, of `FEWEST_IN_A_BIN` songs or more where there are so many.
    """
    bins = max(1, min(BINS, len(rated) // FEWEST_IN_A_BIN))
    points = []
    for number, name in enumerate(dimensions):
        for songs in np.array_split(np.argsort(predicted[:, number], kind="stable"), bins):
            truth, guess = rated[songs, number], predicted[songs, number]
            error = float(truth.std(ddof=1) / math.sqrt(len(songs))) if len(songs) > 1 else 0.0
            points.append(CalibrationPoint(name, float(guess.mean()), float(truth.mean()), error, len(songs)))
    return points


@plain_text()
def draw_scatter(path: Path, evaluation: "Evaluation") -> None:
    """Predicted against rated, a panel a dimension, as PNG."""
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
    """Mean rating against mean score of each bin, with standard errors, a panel a dimension, as PNG."""
    figure, panels = _panels(dimensions)
    for name, axes in zip(dimensions, panels, strict=True):
        mine = [point for point in points if point.dimension == name]
        guess, truth = np.array([p.predicted for p in mine]), np.array([p.rated for p in mine])
        axes.errorbar(guess, truth, [p.error for p in mine], fmt="o-", color=_BLUE, markersize=5, capsize=2)
        axes.set_title(f"{visible(name)}: off by {_off(mine):.2f} on average", fontsize=10)
        _label(axes, x="predicted, mean of a bin", y="rated, mean of a bin", low=_lowest(guess, truth))
    figure.suptitle("calibration: equal parts of the songs by predicted score, ± standard error", fontsize=11)
    _warn(figure, caution)
    figure.savefig(path, format="png")


def _warn(figure: "Figure", caution: str) -> None:
    if caution:
        figure.supxlabel(visible(caution), fontsize=10, color=_RED)


def _off(points: Sequence[CalibrationPoint]) -> float:
    """Mean distance from the diagonal, songs counted alike."""
    return float(np.average([abs(p.predicted - p.rated) for p in points], weights=[p.songs for p in points]))


def _panels(dimensions: Sequence[str]) -> "tuple[Figure, list[Any]]":
    # Not pyplot: it keeps figures and needs a display's backend.
    from matplotlib.figure import Figure

    columns = min(3, len(dimensions))
    rows = math.ceil(len(dimensions) / columns)
    figure = Figure(figsize=(0.6 + 3.6 * columns, 0.4 + 3.6 * rows), dpi=110, layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False).flatten()
    for unused in grid[len(dimensions) :]:
        unused.remove()
    return figure, list(grid[: len(dimensions)])


def _lowest(*values: NDArray[np.floating]) -> float:
    """Where both axes begin: the whole rating below the least value."""
    return max(LOWEST, math.floor(min(float(one.min()) for one in values)))


def _label(axes: Any, *, x: str, y: str, low: float) -> None:
    axes.plot([low, HIGHEST], [low, HIGHEST], color=_GREY, linewidth=1, linestyle="--", zorder=0)
    axes.set(xlim=(low, HIGHEST), ylim=(low, HIGHEST), xlabel=x, ylabel=y, aspect="equal")
    axes.grid(alpha=0.25)
