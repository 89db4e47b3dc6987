"""The progress of a training run: rows for its curves, and listeners that receive them."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from stages.head.files import read_csv, write_csv

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

_Row = TypeVar("_Row", bound="DataclassInstance")
# The types in JSON that a row's fields may have; other fields are lists.
_TYPES: dict[Any, tuple[type, ...]] = {int: (int,), float: (int, float), bool: (bool,)}

STEPS, EVALUATIONS = "steps.csv", "evaluations.csv"


@dataclass(frozen=True, kw_only=True)
class StepRow:
    """One step: losses are means over its batches; `waiting` is the fraction of `seconds` spent waiting for data."""

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
    """Receives the progress of a run; each method does nothing by default."""

    def begin(self, *, steps: int, done: int) -> None:
        """Called when a run of `steps` steps starts, or resumes after `done` of them."""

    def step(self, row: StepRow) -> None:
        """Called after each step."""

    def evaluated(self, row: EvaluationRow) -> None:
        """Called after each validation."""

    def end(self) -> None:
        """Called when the run has ended, successfully or not."""


def row_of(kind: type[_Row], values: dict[str, Any]) -> _Row:
    """Build a dataclass from values read from a file, and check their types.

    Raises
    ------
    TypeError
        A value is missing, unknown or of the wrong type.
    """
    row = kind(**values)
    for one in fields(row):
        if type(getattr(row, one.name)) not in _TYPES.get(one.type, (list,)):
            raise TypeError(f"{one.name} has the wrong type")
    return row


def read_rows(path: Path) -> list[dict[str, str]]:
    """Read the rows of a file of `write_rows`, as text by column. Raises as `read_csv`."""
    header, *rows = read_csv(path) or [[]]
    return [dict(zip(header, cells, strict=False)) for cells in rows]


def write_rows(path: Path, rows: Sequence[StepRow] | Sequence[EvaluationRow], kind: type) -> None:
    """Write rows of `kind` as CSV; a resumed run writes the same rows as an uninterrupted one."""
    write_csv(path, [field.name for field in fields(kind)], (list(asdict(row).values()) for row in rows))
