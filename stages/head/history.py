"""What a run says of itself while it goes: rows for curves, and those who listen."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from stages import csv_text
from stages.head.replacing import replacing

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


def count_rows(path: Path) -> int:
    """How many rows a file of `write_rows` has."""
    with path.open(newline="", encoding="utf-8") as file:
        return sum(1 for _ in csv_text.read_rows(file)) - 1


def write_rows(path: Path, rows: Sequence[StepRow] | Sequence[EvaluationRow], kind: type) -> None:
    """Write rows of `kind` as CSV, whole and atomically; a resumed run writes what an uninterrupted one would."""
    with replacing(path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        csv_text.write_rows(file, [[field.name for field in fields(kind)]])
        csv_text.write_rows(file, (list(asdict(row).values()) for row in rows))
