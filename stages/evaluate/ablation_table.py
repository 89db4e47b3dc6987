"""Our results compared with the paper's Table 2: as Markdown, as CSV and as a plot."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stages.evaluate.ablation import PaperRow
from stages.head.errors import HeadError
from stages.head.files import write_csv
from stages.metrics.agreement import METRICS
from store.files.replacing import replacing
from store.files.visible import visible

MARKDOWN, TABLE, PLOT = "ablation.md", "ablation.csv", "ablation.png"
# Columns of the CSV: means over seeds.
_COUNTS = ("steps", "validations")
_BLUE, _GREY = "#0072B2", "#777777"


@dataclass(frozen=True, kw_only=True)
class AblationRow:
    """One row: means over dimensions (and over several seeds, with their `std`); None if its runs failed.

    `steps` and `validations` have one entry per run, so one per seed.
    """

    paper: PaperRow
    ours: Mapping[str, float] | None
    std: Mapping[str, float] | None = None
    steps: tuple[int, ...] = ()
    validations: tuple[int, ...] = ()


def ablation_markdown(rows: Sequence[AblationRow], *, track: int, notes: Sequence[str]) -> str:
    """The table in the paper's order, with our results beside the paper's, followed by the notes."""
    lines = [
        "| MMR | HAS | L | " + " | ".join(f"{metric} | paper" for metric in METRICS) + " |",
        "|" + ":-:|" * 3 + "--:|" * (2 * len(METRICS)),
    ]
    for row in rows:
        parts = ["✓" if present else " " for present in row.paper.setting]
        theirs = row.paper.metrics(track)
        cells = [cell for metric in METRICS for cell in (_cell(row, metric), f"{theirs[metric]:.3f}")]
        lines.append(f"| {' | '.join([*parts, *cells])} |")
    return "\n".join([*lines, "", *(f"- {visible(note)}" for note in notes)])


def describe_runs(rows: Sequence[AblationRow], *, views_per_epoch: int) -> list[str]:
    """Describe the training steps and the choice of epochs, one sentence each: notes of the table.

    Parameters
    ----------
    views_per_epoch
        As in the config.
    """
    trained = [row for row in rows if row.steps]
    if not trained:
        return []
    return [
        _describe_steps(trained, views_per_epoch),
        _describe_epoch([count for row in trained for count in row.validations]),
    ]


def _describe_steps(rows: Sequence[AblationRow], views_per_epoch: int) -> str:
    views = {0: "all views", 1: "one view"}.get(views_per_epoch, f"{views_per_epoch} views")
    counts = {count for row in rows for count in row.steps}
    if len(counts) == 1:
        text = f"{counts.pop()} in every run"
    else:
        text = "not equal: " + ", ".join(f"{row.paper.setting.name} {_range(row.steps)}" for row in rows)
    return f"Steps: {text}; an epoch has {views} of each song."


def _describe_epoch(validations: Sequence[int]) -> str:
    if max(validations) == 1:
        return "Epoch: the last; each run was validated once, at the end."
    return (
        f"Epoch: the best of {_range(validations)} validations per run on these same songs, by the sum of LCC, SRCC, "
        "KTAU and TTA; so the figures are optimistic."
    )


def _range(counts: Sequence[int]) -> str:
    low, high = min(counts), max(counts)
    return f"{low}" if low == high else f"{low} to {high}"


def write_ablation(out: Path, rows: Sequence[AblationRow], *, track: int, notes: Sequence[str]) -> None:
    """Write `ablation.md`, `ablation.csv` and `ablation.png` into a folder.

    Raises
    ------
    HeadError
        One cannot be written.
    """
    with replacing(out / MARKDOWN, error=HeadError) as partial:
        partial.write_text(ablation_markdown(rows, track=track, notes=notes) + "\n", encoding="utf-8")
    header, *lines = _table(rows, track=track)
    write_csv(out / TABLE, header, lines)
    with replacing(out / PLOT, error=HeadError) as partial:
        draw_ablation(partial, rows, track=track)


def draw_ablation(path: Path, rows: Sequence[AblationRow], *, track: int) -> None:
    """Draw our results (± standard deviation over seeds) and the paper's, one panel per metric, as PNG."""
    # Not pyplot, which keeps figures and needs a display's backend.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 0.8 + 0.42 * len(rows)), dpi=110, layout="constrained")
    panels = figure.subplots(1, len(METRICS), sharey=True)
    for metric, axes in zip(METRICS, panels, strict=True):
        _panel(axes, rows, metric, track=track)
    names = [row.paper.setting.name.upper().replace("-", " + ").replace("BASELINE", "baseline") for row in rows]
    panels[0].set_yticks(range(len(rows)), names)
    panels[0].invert_yaxis()
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False)
    figure.suptitle(f"Track {track}, validation songs", fontsize=11)
    figure.savefig(path, format="png")


def _panel(axes: Any, rows: Sequence[AblationRow], metric: str, *, track: int) -> None:
    theirs = [row.paper.metrics(track)[metric] for row in rows]
    axes.plot(theirs, range(len(rows)), "D", color=_GREY, markerfacecolor="none", markersize=5, label="paper")
    results = [(line, row.ours[metric], (row.std or {}).get(metric)) for line, row in enumerate(rows) if row.ours]
    if results:
        lines, ours, spread = zip(*results, strict=True)
        errors = None if None in spread else spread
        axes.errorbar(ours, lines, xerr=errors, fmt="o", color=_BLUE, markersize=5, capsize=2, label="this store")
    axes.set_title(metric, fontsize=10)
    axes.grid(alpha=0.25)


def _cell(row: AblationRow, metric: str) -> str:
    if row.ours is None:
        return "failed"
    return f"{row.ours[metric]:.3f}" + ("" if row.std is None else f" ± {row.std[metric]:.3f}")


def _table(rows: Sequence[AblationRow], *, track: int) -> list[list[str]]:
    figures = (f"{metric}{kind}" for metric in METRICS for kind in ("", "_std", "_paper"))
    lines = [["row", "mmr", "has", "l", *figures, *_COUNTS]]
    for row in rows:
        theirs = row.paper.metrics(track)
        cells = [
            cell
            for metric in METRICS
            for cell in (_number(row.ours, metric), _number(row.std, metric), f"{theirs[metric]:.3f}")
        ]
        counts = (f"{sum(runs) / len(runs):g}" if runs else "" for runs in (row.steps, row.validations))
        lines.append([row.paper.setting.name, *(str(int(part)) for part in row.paper.setting), *cells, *counts])
    return lines


def _number(values: Mapping[str, float] | None, metric: str) -> str:
    return "" if values is None else f"{values[metric]:.6f}"
