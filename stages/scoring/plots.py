"""One picture per song: its waveform, its scores over time, and a radar of the whole song."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from stages.common.figures import plain_text, shortened, wrapped
from stages.scoring.errors import ScoringError
from stages.scoring.over_time import Curve
from stages.scoring.rows import SongScore
from store.files.replacing import write_errors

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.ticker import FixedLocator

# Okabe and Ito's colours, which colour-blind readers can distinguish; one per dimension, in order.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00")
MARKERS = ("o", "s", "^", "D", "v")
LOWEST, HIGHEST = 1.0, 5.0
# Smallest range of the score axis, so that a variation of a hundredth looks flat.
LEAST_SPAN = 0.5


def plot_song(path: Path, row: SongScore, outline: NDArray[np.float32] | None = None, *, title: str = "") -> None:
    """Draw a scored song to a PNG.

    Parameters
    ----------
    path
        File to write; its folder is created if it does not exist.
    row
        A song with scores and a curve.
    outline
        (2, P) lowest and highest samples; without it, no waveform is drawn.
    title
        Title of the picture; the song's id by default.

    Raises
    ------
    ScoringError
        The file cannot be written.
    """
    with plain_text():
        figure = _figure(row, outline, title or row.song_id)
        with write_errors(path, ScoringError):
            path.parent.mkdir(parents=True, exist_ok=True)
            figure.savefig(path)


def _figure(row: SongScore, outline: NDArray[np.float32] | None, title: str) -> "Figure":
    # Not pyplot, which keeps figures in memory and selects a backend for a display.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 5), dpi=110, layout="constrained")
    heights = [1.0] if outline is None else [1.0, 2.6]
    grid = figure.add_gridspec(len(heights), 2, width_ratios=[2.3, 1], height_ratios=heights)
    curves = figure.add_subplot(grid[-1, 0])
    _draw_curves(curves, row)
    if outline is not None:
        _draw_outline(figure.add_subplot(grid[0, 0], sharex=curves), outline, row.seconds or 0.0)
    if len(row.scores) > 2:
        _draw_radar(figure.add_subplot(grid[:, 1], projection="polar"), row)
    else:
        _draw_bars(figure.add_subplot(grid[:, 1]), row)
    _title(figure, row, title)
    return figure


def plot_names(song_ids: Sequence[str]) -> list[str]:
    """A file name for each song, without suffix: letters, digits, `-`, `_`, `.` and spaces; all are different.

    Of a long id, the end is kept, because ids with folders often share their beginning.
    """
    names: list[str] = []
    used: set[str] = set()
    for song_id in song_ids:
        plain = re.sub(r"[^\w\-. ]", "_", song_id)[-60:].strip(" .") or "song"
        # Some file systems ignore case.
        name, number = plain, 2
        while name.casefold() in used:
            name, number = f"{plain}-{number}", number + 1
        used.add(name.casefold())
        names.append(name)
    return names


def _title(figure: "Figure", row: SongScore, title: str) -> None:
    figure.suptitle(shortened(title, 90), fontsize=12)
    warnings = [wrapped(text, 170) for text in (row.caution, *row.warnings) if text]
    if warnings:
        lines = "\n".join(warnings)
        # Else the radar becomes so small that its labels leave the figure.
        figure.set_figheight(figure.get_figheight() + 0.14 * lines.count("\n"))
        # Not `figure.text`, for which the layout makes no space.
        figure.supxlabel(lines, x=0.995, ha="right", fontsize=8, color="#B00020")


def _draw_outline(axes: "Axes", outline: NDArray[np.float32], seconds: float) -> None:
    times = np.linspace(0, seconds, outline.shape[1])
    axes.fill_between(times, outline[0], outline[1], color="#777777", linewidth=0)
    peak = max(0.05, float(np.abs(outline).max()))
    axes.set(ylim=(-peak, peak), ylabel="waveform")
    axes.tick_params(labelbottom=False, labelleft=False, left=False)
    axes.grid(axis="x", alpha=0.3)


def _draw_curves(axes: "Axes", row: SongScore) -> None:
    curve = row.curve
    if curve is None:
        return
    length = row.seconds or max(curve.seconds)
    # The first and last window's scores last until the song's beginning and end, where there are no markers.
    seconds = (0.0, *curve.seconds, length)
    # Five short names fit above the curves, or three long ones.
    columns = 5 if sum(map(len, curve.scores)) <= 60 else 3
    for number, (name, values) in enumerate(curve.scores.items()):
        axes.plot(
            seconds,
            (values[0], *values, values[-1]),
            color=COLOURS[number % len(COLOURS)],
            marker=MARKERS[number % len(MARKERS)],
            markevery=slice(1, len(values) + 1, max(1, len(values) // 12)),
            markersize=4.5,
            linewidth=1.6,
            label=shortened(name, 72 // min(columns, len(curve.scores))),
            # Scores of 1 and 5 are on the frame, which would cut their lines in half.
            clip_on=False,
            zorder=3,
        )
    drawn = [value for values in curve.scores.values() for value in values]
    low, high = min(drawn), max(drawn)
    margin = max(LEAST_SPAN - (high - low), 0.1 * (high - low) + 0.05) / 2
    axes.set(
        xlim=(0, length),
        ylim=(max(LOWEST, low - margin), min(HIGHEST, high + margin)),
        xlabel=_time_label(curve),
        ylabel="score",
    )
    axes.xaxis.set_major_locator(_time_ticks(length))
    axes.xaxis.set_major_formatter(lambda second, _: f"{int(second) // 60}:{int(second) % 60:02}")
    axes.grid(alpha=0.3)
    axes.legend(ncols=columns, fontsize=8, loc="lower center", bbox_to_anchor=(0.5, 1.0), frameon=False)


def _time_ticks(length: float) -> "FixedLocator":
    from matplotlib.ticker import FixedLocator

    every = next((step for step in (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800) if length / step <= 12), 3600)
    return FixedLocator(list(range(0, int(length) + 1, every)))


def _time_label(curve: Curve) -> str:
    if len(curve.seconds) == 1:
        return f"time (up to {curve.window + curve.hop / 2:g} s, a song is a single window)"
    return f"time (centres of {curve.window:g} s windows, one every {curve.hop:g} s)"


def _draw_radar(axes: Any, row: SongScore) -> None:
    names, values = list(row.scores), list(row.scores.values())
    angles = np.linspace(0, 2 * np.pi, len(names), endpoint=False)
    around, closed = np.append(angles, angles[0]), np.append(values, values[0])
    axes.set_theta_offset(np.pi / 2)
    axes.set_theta_direction(-1)
    if row.spread:
        spread = np.array([*row.spread.values(), next(iter(row.spread.values()))])
        low, high = np.clip([closed - spread, closed + spread], LOWEST, HIGHEST)
        axes.fill_between(around, low, high, color=COLOURS[0], alpha=0.25, linewidth=0)
    axes.plot(around, closed, color=COLOURS[0], linewidth=1.8)
    axes.fill(around, closed, color=COLOURS[0], alpha=0.12)
    axes.set_ylim(LOWEST, HIGHEST)
    axes.set_yticks([1, 2, 3, 4, 5])
    axes.set_yticklabels(["", "2", "3", "4", "5"], fontsize=7, color="#777777")
    axes.set_xticks(angles, [])
    for name, angle in zip(names, angles, strict=True):
        # Outside the circle on every side; matplotlib's own labels are centred on its edge.
        side = np.sin(angle)
        align = "center" if abs(side) < 0.1 else "left" if side > 0 else "right"
        level = "bottom" if np.cos(angle) > 0.9 else "center"
        axes.text(angle, HIGHEST + 0.35, f"{shortened(name, 12)}\n{_score(row, name)}", ha=align, va=level, fontsize=9)
    axes.set_title("whole song", fontsize=10, pad=40)


def _draw_bars(axes: "Axes", row: SongScore) -> None:
    names, values = list(row.scores), np.array(list(row.scores.values()))
    spread = np.array([row.spread.get(name, 0.0) for name in names])
    axes.bar(range(len(names)), values, yerr=spread if row.spread else None, color=COLOURS[: len(names)], width=0.4)
    # Whole error bars, even those that leave the scale.
    ends = min(LOWEST, float((values - spread).min())), max(HIGHEST, float((values + spread).max()))
    axes.set(ylim=(ends[0], ends[1] + 0.05), xlim=(-0.6, len(names) - 0.4), yticks=[1, 2, 3, 4, 5])
    axes.set_xticks(range(len(names)), [shortened(name, 32 // len(names)) for name in names])
    axes.set_title("whole song: " + ", ".join(_score(row, name) for name in names), fontsize=10)


def _score(row: SongScore, name: str) -> str:
    return f"{row.scores[name]:.2f}" + (f" ± {row.spread[name]:.2f}" if name in row.spread else "")
