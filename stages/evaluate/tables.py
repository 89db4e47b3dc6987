"""An evaluation as text, as JSON, and as the CSV files that `dvc plots` draws."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from stages.evaluate.evaluation import Evaluation
from stages.evaluate.plots import calibration, draw_calibration, draw_scatter
from stages.evaluate.raters import raters_text
from stages.head.errors import HeadError
from stages.head.files import write_csv, write_json
from stages.metrics.agreement import METRICS, Metrics
from stages.metrics.bootstrap import Intervals
from store.files.replacing import replacing
from store.files.visible import visible

SCATTER, CALIBRATION = "predictions.csv", "calibration.csv"


def evaluation_table(evaluation: Evaluation) -> str:
    """Every metric with its 95 % interval, one line per dimension, and the notes below, for a terminal."""
    lines = _lines(
        f"{evaluation.split}, {len(evaluation.corpus.songs)} songs", evaluation.utterance, evaluation.intervals
    )
    if evaluation.system is not None:
        systems = len({system for system in evaluation.corpus.systems if system})
        lines += ["", *_lines(f"{systems} systems", evaluation.system, evaluation.system_intervals)]
    if evaluation.raters:
        lines += ["", *raters_text(evaluation.raters)]
    if evaluation.caution:
        lines += ["", f"⚠ {visible(evaluation.caution)}"]
    if evaluation.notes:
        lines += ["", *(f"note: {visible(note)}" for note in evaluation.notes)]
    return "\n".join(lines)


def _lines(header: str, metrics: Metrics, intervals: Intervals | None) -> list[str]:
    lines = [f"{header:16}" + "".join(f"{metric:>22}" for metric in METRICS)]
    for name, row in metrics.items():
        cells = (_cell(row[metric], intervals[name][metric] if intervals else None) for metric in METRICS)
        lines.append(f"{visible(name):16}{''.join(cells)}".rstrip())
    return lines


def _cell(value: float, ends: tuple[float, float] | None) -> str:
    """A figure and its interval; `z` avoids −0.00."""
    interval = f" [{ends[0]:z5.2f}, {ends[1]:z4.2f}]" if ends else ""
    return f"{value:z8.3f}{interval:14}"


def write_evaluation(
    evaluation: Evaluation, out: Path, *, summary: Path | None = None, plots: Path | None = None
) -> None:
    """Write all metrics as JSON, their means over dimensions as a `summary`, predictions and calibration as plots.

    Parameters
    ----------
    summary
        JSON of four numbers: a table that `dvc metrics` and `dvc exp` can show.
    plots
        A folder for CSV and PNG.

    Raises
    ------
    HeadError
        A file cannot be written.
    """
    write_json(out, _to_json(evaluation))
    if summary is not None:
        write_json(summary, _rounded(evaluation.utterance)["mean"])
    if plots is not None:
        write_csv(plots / SCATTER, ("song_id", "system", "dimension", "rated", "predicted"), _pairs(evaluation))
        points = calibration(evaluation.corpus.ratings, evaluation.predicted, evaluation.dimensions)
        write_csv(plots / CALIBRATION, ("dimension", "predicted", "rated", "error", "songs"), points)
        with replacing(plots / "predictions.png", error=HeadError) as partial:
            draw_scatter(partial, evaluation)
        with replacing(plots / "calibration.png", error=HeadError) as partial:
            draw_calibration(partial, points, evaluation.dimensions, caution=evaluation.caution)


def _to_json(evaluation: Evaluation) -> dict[str, Any]:
    values: dict[str, Any] = {"songs": len(evaluation.corpus.songs), "utterance": _rounded(evaluation.utterance)}
    if evaluation.system is not None:
        values["system"] = _rounded(evaluation.system)
    values["intervals"] = _ends(evaluation.intervals)
    if evaluation.system_intervals is not None:
        values["system_intervals"] = _ends(evaluation.system_intervals)
    if evaluation.raters:
        values["raters"] = {name: asdict(each) for name, each in evaluation.raters.items()}
    if evaluation.caution:
        values["caution"] = evaluation.caution
    values["notes"] = list(evaluation.notes)
    return values


def _ends(intervals: Intervals) -> dict[str, dict[str, list[float]]]:
    return {
        name: {metric: [round(end, 6) for end in ends] for metric, ends in row.items()}
        for name, row in intervals.items()
    }


def _rounded(metrics: Metrics) -> Metrics:
    return {name: {metric: round(value, 6) for metric, value in row.items()} for name, row in metrics.items()}


def _pairs(evaluation: Evaluation) -> Iterable[Sequence[object]]:
    corpus = evaluation.corpus
    for song, system, ratings, scores in zip(
        corpus.songs, corpus.systems, corpus.ratings, evaluation.predicted, strict=True
    ):
        for name, rating, score in zip(evaluation.dimensions, ratings, scores, strict=True):
            yield song, system, name, float(np.round(rating, 6)), float(np.round(score, 6))
