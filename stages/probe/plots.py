"""Plots of a probe: a confusion matrix, or predicted against true values; and bars for a sweep."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from stages.common.figures import plain_text, shortened, wrapped
from stages.probe.report import ProbeReport

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_INK, _MUTED, _BAR = "#1b1b1b", "#8a8a8a", "#3b6ea5"
_CELLS_WITH_NUMBERS = 20


def draw(report: ProbeReport, folder: Path) -> list[Path]:
    """Draw `confusion.png` or `scatter.png` into `folder`, by the task, and `sweep.png` after a sweep."""
    drawn = {
        "confusion.png" if report.sample.classes else "scatter.png": _confusion if report.sample.classes else _scatter
    }
    if report.sweep:
        drawn["sweep.png"] = _sweep
    with plain_text():
        for name, function in drawn.items():
            function(report).savefig(folder / name, dpi=150)
    return [folder / name for name in drawn]


def _figure(width: float, height: float) -> tuple["Figure", Any]:
    # A Figure without pyplot needs no display and keeps no global state.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.add_subplot()


def _title(axes: Any, report: ProbeReport) -> None:
    value, naive = report.scores.probe[report.scores.headline], report.scores.baseline[report.scores.headline]
    result = (
        f"{report.scores.headline} {value.value:.2f} [{value.low:.2f}, {value.high:.2f}], baseline {naive.value:.2f}"
    )
    what = f"{_target(report)} by {report.config.model}, {len(report.sample.songs)} songs"
    # Of the figure, not of the axes, which are narrower than the text; the layout leaves no space beside a colour bar.
    axes.figure.suptitle(f"{wrapped(f'{what}, out of fold', 64)}\n{result}", fontsize=9)


def _confusion(report: ProbeReport) -> "Figure":
    counts, names = report.confusion(), [shortened(name, 24) for name in report.sample.classes]
    shares = counts / counts.sum(axis=1, keepdims=True)
    side = min(3.2 + 0.45 * len(names), 14.0)
    figure, axes = _figure(side + 0.8, side)
    image = axes.imshow(shares, cmap="Blues", vmin=0.0, vmax=1.0)
    figure.colorbar(image, ax=axes, label="share of the true class", shrink=0.8)
    slanted = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"} if max(map(len, names)) > 8 else {}
    axes.set_xticks(range(len(names)), names, **slanted)
    axes.set_yticks(range(len(names)), names)
    axes.set_xlabel(f"predicted {_target(report)}")
    axes.set_ylabel(f"true {_target(report)}")
    if len(names) <= _CELLS_WITH_NUMBERS:
        for (row, column), count in np.ndenumerate(counts):
            ink = "white" if shares[row, column] > 0.5 else _INK
            axes.text(column, row, str(count), ha="center", va="center", color=ink)
    _title(axes, report)
    return figure


def _scatter(report: ProbeReport) -> "Figure":
    figure, axes = _figure(5.2, 5.0)
    both = np.concatenate([report.sample.labels, report.predicted])
    margin = 0.05 * (np.ptp(both) or 1.0)
    limits = (both.min() - margin, both.max() + margin)
    axes.plot(limits, limits, color=_MUTED, linewidth=1, label="predicted = true")
    axes.axhline(report.sample.labels.mean(), color=_MUTED, linewidth=1, linestyle=":", label="baseline: the mean")
    axes.scatter(report.sample.labels, report.predicted, s=14, alpha=0.6, color=_BAR, edgecolors="none", label="a song")
    axes.set(xlim=limits, ylim=limits, aspect="equal", xlabel=f"true {_target(report)}")
    axes.set_ylabel(f"predicted {_target(report)}")
    axes.legend(frameon=False, fontsize=8, loc="upper left")
    _title(axes, report)
    return figure


def _sweep(report: ProbeReport) -> "Figure":
    rows = report.sweep[::-1]  # barh draws upwards, so the best is on top
    figure, axes = _figure(6.4, 1.4 + 0.32 * len(rows))
    values = np.array([row.value.value for row in rows])
    around = np.array([[row.value.value - row.value.low, row.value.high - row.value.value] for row in rows])
    axes.barh(range(len(rows)), values, xerr=np.maximum(around, 0.0).T, color=_BAR, ecolor=_INK, capsize=2, height=0.7)
    naive = report.scores.baseline[report.scores.headline].value
    axes.use_sticky_edges = False  # else the frame hides a baseline of 0
    axes.axvline(naive, color=_MUTED, linestyle=":", label="baseline")
    axes.set_yticks(range(len(rows)), [shortened(row.name, 40) for row in rows])
    axes.set_xlabel(f"{report.scores.headline}, with 95 % interval")
    figure.suptitle(wrapped(f"{_target(report)} by {report.config.model}: comparison of streams", 80), fontsize=9)
    axes.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return figure


def _target(report: ProbeReport) -> str:
    return shortened(report.config.target, 36)
