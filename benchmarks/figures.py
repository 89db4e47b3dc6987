"""Figures of a benchmark: printed when measured, checked against their goals, and kept in a file for the report."""

import argparse
import json
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A measured value, or the reason why it was not measured; `least` and `most` are its goals, if any."""

    name: str
    value: float | None
    unit: str = ""
    least: float | None = None
    most: float | None = None
    note: str = ""

    @property
    def missed(self) -> bool:
        """Whether the value was measured and its goal missed."""
        if self.value is None:
            return False
        below = self.least is not None and not self.value >= self.least
        above = self.most is not None and not self.value <= self.most
        return below or above

    @property
    def measured(self) -> str:
        """The value with its unit, or that it was not measured."""
        return "not measured" if self.value is None else f"{self.value:.4g} {self.unit}".strip()

    @property
    def goal(self) -> str:
        """The goals in words, or empty text without goals."""
        return ", ".join(f"{sign} {goal:g}" for sign, goal in (("≥", self.least), ("≤", self.most)) if goal is not None)

    def __str__(self) -> str:
        """One line: name, value, goal, and whether it was missed."""
        goal = f" (goal {self.goal}{': missed' if self.missed else ''})" if self.goal else ""
        return f"{self.name}: {self.measured}{goal}{f'; {self.note}' if self.note else ''}"


def read_figures(path: Path) -> list[Figure]:
    """The figures of a file, in the order of their measurement; none if it does not exist."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return [Figure(**json.loads(line)) for line in lines]


class Figures:
    """Prints the figures of one benchmark, and appends them to a file if there is one."""

    def __init__(self, path: Path | None) -> None:
        self._path = path

    @classmethod
    def parse(cls, parser: argparse.ArgumentParser) -> "tuple[argparse.Namespace, Figures]":
        """Add the option `--figures` to a benchmark's parser, and parse the command line."""
        parser.add_argument("--figures", type=Path, help="append the figures to this file, one JSON object per line")
        options = parser.parse_args()
        return options, cls(options.figures)

    def add(
        self, name: str, value: float, unit: str = "", *, least: float | None = None, most: float | None = None
    ) -> None:
        """Print a measured figure and keep it."""
        self._keep(Figure(name=name, value=value, unit=unit, least=least, most=most))

    def skip(
        self, name: str, reason: str, unit: str = "", *, least: float | None = None, most: float | None = None
    ) -> None:
        """Print that a figure was not measured, and why, and keep that."""
        self._keep(Figure(name=name, value=None, unit=unit, least=least, most=most, note=reason))

    def _keep(self, figure: Figure) -> None:
        print(figure, flush=True)
        if self._path is not None:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(asdict(figure), ensure_ascii=False) + "\n")
