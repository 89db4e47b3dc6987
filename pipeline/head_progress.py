"""A progress bar on stderr while a head is trained."""

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from stages.head.history import EvaluationRow, Listener, StepRow


class TrainingBar(Listener):
    """Steps done, the loss, and the latest and best validation; `what` is trained, if there are several."""

    def __init__(self, what: str = "steps") -> None:
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[loss]} {task.fields[found]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        self._task = self._bar.add_task(what, total=None, loss="", found="")
        self._best = ""

    def begin(self, *, steps: int, done: int) -> None:
        """Show the bar."""
        self._bar.update(self._task, total=steps, completed=done)
        self._bar.start()

    def step(self, row: StepRow) -> None:
        """Count a step."""
        self._bar.update(self._task, completed=row.step, loss=f"epoch {row.epoch} loss {row.loss:.3f}")

    def evaluated(self, row: EvaluationRow) -> None:
        """Show how the validation went."""
        if row.best:
            self._best = f"best {row.total:.3f}"
        self._bar.update(self._task, found=f"SRCC {row.srcc:.3f} LCC {row.lcc:.3f} sum {row.total:.3f} {self._best}")

    def end(self) -> None:
        """Take the bar away."""
        self._bar.stop()
