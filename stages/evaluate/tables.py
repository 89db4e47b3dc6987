"""An evaluation as text, as JSON, and as the CSV files that `dvc plots` draws."""

import csv
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from stages.evaluate.metrics import METRICS, Metrics
from stages.evaluate.plots import calibration, draw_calibration, draw_scatter
from stages.evaluate.run import Evaluation
from stages.head.errors import HeadError

SCATTER, CALIBRATION = "predictions.csv", "calibration.csv"


def evaluation_table(evaluation: Evaluation) -> str:
    """Every metric with its 95 % interval, a line a dimension, for a terminal."""
    header = f"{evaluation.split}, {len(evaluation.corpus.songs)} songs"
    lines = [f"{header:16}" + "".join(f"{metric:>22}" for metric in METRICS)]
    for name, row in evaluation.utterance.items():
        cells = ((row[metric], *evaluation.intervals[name][metric]) for metric in METRICS)
        lines.append(f"{name:16}" + "".join(f"{v:8.3f} [{low:5.2f}, {high:4.2f}]" for v, low, high in cells))
    if evaluation.system is not None:
        systems = len({system for system in evaluation.corpus.systems if system})
        lines += ["", f"{f'{systems} systems':16}" + "".join(f"{metric:>22}" for metric in METRICS)]
        lines += [_plain_line(name, row) for name, row in evaluation.system.items()]
    return "\n".join(lines)


def _plain_line(name: str, row: dict[str, float]) -> str:
    return f"{name:16}" + "".join(f"{row[metric]:8.3f}{'':14}" for metric in METRICS).rstrip()


def write_evaluation(
    evaluation: Evaluation, out: Path, *, summary: Path | None = None, plots: Path | None = None
) -> None:
    """Write all metrics as JSON, their means over dimensions as a flat `summary`, predictions and calibration as plots.

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
    try:
        _write_json(out, _to_json(evaluation))
        if summary is not None:
            _write_json(summary, _rounded(evaluation.utterance)["mean"])
        if plots is not None:
            plots.mkdir(parents=True, exist_ok=True)
            _write_csv(plots / SCATTER, ("song_id", "system", "dimension", "rated", "predicted"), _pairs(evaluation))
            points = calibration(evaluation.corpus.labels, evaluation.predicted, evaluation.dimensions)
            _write_csv(plots / CALIBRATION, ("dimension", "predicted", "rated", "error", "songs"), points)
            draw_scatter(plots / "predictions.png", evaluation)
            draw_calibration(plots / "calibration.png", points, evaluation.dimensions)
    except OSError as error:
        raise HeadError(f"{error.filename or out}: cannot be written: {error.strerror}") from error


def _to_json(evaluation: Evaluation) -> dict[str, Any]:
    values: dict[str, Any] = {"songs": len(evaluation.corpus.songs), "utterance": _rounded(evaluation.utterance)}
    if evaluation.system is not None:
        values["system"] = _rounded(evaluation.system)
    values["intervals"] = {
        name: {metric: [round(end, 6) for end in ends] for metric, ends in row.items()}
        for name, row in evaluation.intervals.items()
    }
    return values


def _write_json(path: Path, values: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


def _rounded(metrics: Metrics) -> Metrics:
    return {name: {metric: round(value, 6) for metric, value in row.items()} for name, row in metrics.items()}


def _pairs(evaluation: Evaluation) -> Iterable[Sequence[object]]:
    corpus = evaluation.corpus
    for song, system, rated, scores in zip(
        corpus.songs, corpus.systems, corpus.labels, evaluation.predicted, strict=True
    ):
        for name, one, other in zip(evaluation.dimensions, rated, scores, strict=True):
            yield song, system, name, float(np.round(one, 6)), float(np.round(other, 6))


def _write_csv(path: Path, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(rows)
