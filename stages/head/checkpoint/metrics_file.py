"""metrics.json: the metrics of a run, or of several seeds."""

import math
from pathlib import Path
from typing import Any

from stages.common.provenance import LONGEST_KEY
from stages.head.errors import HeadError
from stages.head.files import read_object
from stages.metrics.agreement import METRICS, Metrics
from store.files.json_text import brief
from store.files.visible import visible


def read_metrics_file(path: Path) -> dict[str, Any]:
    """Read metrics.json: `Metrics`, and for several seeds also their `std` and the `ensemble`'s metrics.

    Raises
    ------
    HeadError
        It cannot be read, or was not written by a run.
    """
    values = read_object(path)
    rows = {name: row for name, row in values.items() if name not in ("std", "ensemble")}
    for name, table in {"": rows, "std.": values.get("std", rows), "ensemble.": values.get("ensemble", rows)}.items():
        if not isinstance(table, dict) or table.keys() != rows.keys() or "mean" not in table:
            raise HeadError(f"{path}: {name or 'it '}must have figures of each dimension and of their mean")
        for dimension, row in table.items():
            if not isinstance(row, dict) or not all(is_number(row.get(metric)) for metric in METRICS):
                label, expected = visible(dimension[:LONGEST_KEY]), ", ".join(METRICS)
                raise HeadError(f"{path}: {name}{label} must have numbers for {expected}, found {brief(row)}")
    return values


def read_metrics(path: Path) -> Metrics:
    """Read the metrics of one run, or the means over several seeds. Raises as `read_metrics_file`."""
    metrics: Metrics = {name: row for name, row in read_metrics_file(path).items() if name not in ("std", "ensemble")}
    return metrics


def is_number(value: object) -> bool:
    """Whether this is a finite number, and not a truth value."""
    return type(value) in (int, float) and math.isfinite(value)  # type: ignore[arg-type]
