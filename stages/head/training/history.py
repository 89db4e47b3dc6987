"""What a run says of itself while it goes: rows for curves, and those who listen."""

import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from stages.common import csv_text
from stages.head.errors import HeadError
from stages.head.replacing import replacing
from store.files.regular import LARGEST_TEXT, IrregularFileError, read_regular

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

_Row = TypeVar("_Row", bound="DataclassInstance")
# What the fields of a row may be in JSON; others are lists.
_TYPES: dict[Any, tuple[type, ...]] = {int: (int,), float: (int, float), bool: (bool,)}

STEPS, EVALUATIONS = "steps.csv", "evaluations.csv"


@dataclass(frozen=True, kw_only=True)
class StepRow:
    """One step: losses are means over its batches; `waiting` is the share of `seconds` spent waiting for data."""

    step: int
    epoch: int
    loss: float
    regression: float
    ranking: float
    learning_rate: float
    gradient_norm: float
    seconds: float
    waiting: float


@dataclass(frozen=True, kw_only=True)
class EvaluationRow:
    """One validation: the means over dimensions, and their sum, which picks the best checkpoint."""

    step: int
    epoch: int
    lcc: float
    srcc: float
    ktau: float
    tta: float
    total: float
    best: bool


class Listener:
    """Hears what a run says; by default it does nothing with it."""

    def begin(self, *, steps: int, done: int) -> None:
        """A run of `steps` steps starts, or goes on after `done` of them."""

    def step(self, row: StepRow) -> None:
        """A step was made."""

    def evaluated(self, row: EvaluationRow) -> None:
        """A validation was made."""

    def end(self) -> None:
        """The run is over, whether it succeeded or not."""


def row_of(kind: type[_Row], values: dict[str, Any]) -> _Row:
    """Make a row, or what has rows, of values that a file held.

    Raises
    ------
    TypeError
        A value is missing, unknown or of another type than the field's.
    """
    row = kind(**values)
    for one in fields(row):
        if type(getattr(row, one.name)) not in _TYPES.get(one.type, (list,)):
            raise TypeError(f"{one.name} is of another type")
    return row


def read_rows(path: Path) -> list[dict[str, str]]:
    """The rows of a file of `write_rows`, as text.

    Raises
    ------
    HeadError
        It cannot be read.
    """
    try:
        text = read_regular(path, largest=LARGEST_TEXT).decode()
        rows = [cells for _, cells in csv_text.read_rows(io.StringIO(text, newline=""))]
    except (OSError, ValueError, IrregularFileError) as error:
        raise HeadError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from error
    return [dict(zip(rows[0], cells, strict=False)) for cells in rows[1:]]


def write_rows(path: Path, rows: Sequence[StepRow] | Sequence[EvaluationRow], kind: type) -> None:
    """Write rows of `kind` as CSV, whole and atomically; a resumed run writes what an uninterrupted one would."""
    with replacing(path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        csv_text.write_rows(file, [[field.name for field in fields(kind)]])
        csv_text.write_rows(file, (list(asdict(row).values()) for row in rows))
