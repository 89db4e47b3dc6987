"""One page with the results of `make gpu`: every figure with its goal, its verdict and its machine.

Each step keeps a journal, with one JSON object per line: the machine first; then for every command its start, its
figures or tests as they come, and its end. A step that runs again starts a new journal, so no old figure remains. A
command without an end was interrupted.
"""

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.figures import Figure

OK = "ok"
NO_GPU = "none"
DRY = (
    "**Dry run: there was no GPU, so benchmarks ran at tiny sizes. Their figures only show that the commands work, "
    "and goals do not count.**"
)


@dataclass(kw_only=True)
class Run:
    """One command of a step, and all that is known of it; a command that never started was not run."""

    command: str
    machine: dict[str, str] = field(default_factory=dict)
    started: str = ""
    load: float | None = None
    seconds: float | None = None
    result: str = "not run"
    figures: list[Figure] = field(default_factory=list)
    tests: list[dict[str, str]] = field(default_factory=list)

    @property
    def dry(self) -> bool:
        """Whether it ran without a GPU, at tiny sizes."""
        return self.machine.get("GPU") == NO_GPU

    @property
    def failed(self) -> bool:
        """Whether it started and did not end well, or missed a goal."""
        missed = not self.dry and any(figure.missed for figure in self.figures)
        return missed or self.result not in (OK, "not run")


def write_line(journal: Path, **values: Any) -> None:
    """Append one JSON object to a journal."""
    with journal.open("a", encoding="utf-8") as file:
        file.write(json.dumps(values, ensure_ascii=False) + "\n")


def read_journal(journal: Path, commands: Iterable[str]) -> list[Run]:
    """One run per command of the step, in their order."""
    runs = {command: Run(command=command) for command in commands}
    current = Run(command="")
    machine: dict[str, str] = {}
    for line in journal.read_text(encoding="utf-8").splitlines() if journal.exists() else ():
        match json.loads(line):
            case {"machine": machine}:
                pass
            case {"command": command, "started": started, "load": load}:
                current = runs[command] = Run(
                    command=command, machine=machine, started=started, load=load, result="interrupted"
                )
            case {"result": result, "seconds": seconds}:
                current.result, current.seconds = result, seconds
            case {"test": _} as test:
                current.tests.append(test)
            case figure:
                current.figures.append(Figure(**figure))
    return list(runs.values())


def page(runs: Sequence[Run]) -> str:
    """The page in Markdown."""
    machines = []
    for run in runs:
        if run.machine and run.machine not in machines:
            machines.append(run.machine)
    number = {id(run): str(machines.index(run.machine) + 1) if run.machine else "" for run in runs}
    parts = ["# Tests and benchmarks for a GPU", *([DRY] if any(run.dry for run in runs) else []), summary(runs)]
    if machines:
        rows = [[str(place), *machine.values()] for place, machine in enumerate(machines, 1)]
        parts += ["## Machines", _table(["machine", *machines[0]], rows)]
    rows = [
        [run.command, run.result, _number(run.seconds), run.started, _number(run.load), number[id(run)]] for run in runs
    ]
    parts += ["## Commands", _table(["command", "result", "seconds", "started", "load", "machine"], rows)]
    rows = [
        [figure.name, figure.measured, figure.goal, _verdict(figure, run), number[id(run)]]
        for run in runs
        for figure in run.figures
    ]
    parts += ["## Figures", _table(["figure", "value", "goal", "verdict", "machine"], rows)] if rows else []
    rows = [[test["test"], test["outcome"], test["note"], number[id(run)]] for run in runs for test in run.tests]
    parts += ["## Tests", _table(["test", "outcome", "reason", "machine"], rows)] if rows else []
    return "\n\n".join(parts) + "\n"


def summary(runs: Sequence[Run]) -> str:
    """One line of counts."""
    goals = Counter(_verdict(figure, run) for run in runs for figure in run.figures if figure.value is not None)
    tests = Counter(test["outcome"] for run in runs for test in run.tests)
    unknown = sum(figure.value is None for run in runs for figure in run.figures)
    failed = [run.command for run in runs if run.result not in (OK, "not run")]
    return (
        f"Goals: {goals['met']} met, {goals['missed']} missed; figures not measured: {unknown}. "
        f"Tests: {tests['passed']} passed, {tests['failed']} failed, {tests['skipped']} skipped. "
        f"Commands that failed: {', '.join(failed) or 'none'}."
    )


def _verdict(figure: Figure, run: Run) -> str:
    if figure.value is None:
        return figure.note
    if run.dry or not figure.goal:
        return "dry run" if run.dry else "no goal"
    return "missed" if figure.missed else "met"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}"


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(' '.join(cell.split()).replace('|', '/') for cell in row)} |" for row in lines)
