"""One panel per change as SVG: the mean change of each score over the strengths, with 95 % intervals."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from stages.common.figures import figure_svg, plain_text
from stages.robustness.effects import Curve, StressResult
from stages.scoring.plots import COLOURS, MARKERS
from stages.scoring.statistics import OVERALL
from store.files.visible import visible

# In inches; 72 of the SVG's points each.
PANEL = (4.1, 2.7)
# Left, bottom, width and height of the axes, as shares of the panel.
FRAME = (0.17, 0.19, 0.81, 0.70)
# Becomes the page's colour of text; see `figure_svg`.
_INK = "black"
# Distance between two scores at the same strength, so that their intervals do not cover each other.
_STEP = 0.08


@plain_text()
def draw_panels(result: StressResult) -> dict[str, str]:
    """SVG elements by change. All panels have the same y axis, which includes every interval and 0."""
    limits = _limits(result)
    names = dict.fromkeys(curve.change.name for curve in result.curves)
    return {
        name: _panel([one for one in result.curves if one.change.name == name], limits, result.tolerance)
        for name in names
    }


@plain_text()
def draw_legend(dimensions: Sequence[str], panels: str) -> str:
    """One SVG element with the colour and marker of each score; `panels` names the panels that it is for."""
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    figure = Figure(figsize=(PANEL[0], 0.25 * ((len(dimensions) + 2) // 3) + 0.1))
    handles = [Line2D([], [], label=visible(name), **_style(number, name)) for number, name in enumerate(dimensions)]
    figure.legend(handles=handles, ncols=3, loc="center", frameon=False, fontsize=9)
    return figure_svg(figure, label=f"{panels}: colours and markers of the scores")


def _limits(result: StressResult) -> tuple[float, float]:
    ends = [
        end
        for curve in result.curves
        for effect in curve.effects
        for end in (effect.difference.low, effect.difference.high)
    ]
    low, high = min(0.0, -2 * result.tolerance, *ends), max(0.0, 2 * result.tolerance, *ends)
    margin = 0.05 * (high - low)
    return low - margin, high + margin


def _panel(curves: Sequence[Curve], limits: tuple[float, float], tolerance: float) -> str:
    from matplotlib.figure import Figure

    change = curves[0].change
    figure = Figure(figsize=PANEL)
    # The same frame in each panel, whatever its labels.
    axes = figure.add_axes(FRAME)
    axes.axhline(0, color=_INK, linewidth=0.8)
    if change.kind == "nuisance":
        axes.axhspan(-tolerance, tolerance, color=COLOURS[2], alpha=0.15, linewidth=0)
    for number, curve in enumerate(curves):
        _draw(axes, curve, number, len(curves))
    strengths = [effect.strength for effect in curves[0].effects]
    axes.set(ylim=limits, xlim=(-0.5, len(strengths) - 0.5), ylabel="change of the score")
    labels = [f"{strength:g}" for strength in strengths] if change.unit else ["on"]
    axes.set_xticks(range(len(strengths)), labels)
    # Gain goes from quieter to louder.
    axes.set_xlabel(f"{change.unit}, mild to strong" if len(strengths) > 1 and min(strengths) > 0 else change.unit)
    axes.set_title(change.name, fontsize=11)
    axes.grid(axis="y", color=_INK, alpha=0.15)
    axes.tick_params(labelsize=9)
    axes.spines[["top", "right"]].set_visible(False)
    return figure_svg(figure, label=f"{change.name}: change of each score")


def _draw(axes: Any, curve: Curve, number: int, count: int) -> None:
    found = [effect.difference for effect in curve.effects]
    places = np.arange(len(found)) + _STEP * (number - (count - 1) / 2)
    means = np.array([one.mean for one in found])
    # The bootstrap's quantiles may miss the mean by rounding.
    errors = np.maximum(0, [means - [one.low for one in found], [one.high for one in found] - means])
    axes.errorbar(places, means, errors, capsize=1.5, elinewidth=0.9, **_style(number, curve.dimension))


def _style(number: int, name: str) -> dict[str, Any]:
    colour = _INK if name == OVERALL else COLOURS[number % len(COLOURS)]
    marker = "X" if name == OVERALL else MARKERS[number % len(MARKERS)]
    return {"color": colour, "marker": marker, "markersize": 4, "linewidth": 1.2}
