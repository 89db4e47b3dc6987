"""Progress bars on stderr while a head is trained, or several."""

from collections.abc import Sequence
from typing import Self

from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from pipeline.show.output import Bar
from stages.head.checkpoint.layout import RUN
from stages.head.errors import HeadError
from stages.head.training.history import EVALUATIONS, EvaluationRow, Listener, StepRow, read_rows
from stages.head.training.runs import Job


class TrainingBar(Listener):
    """Steps done, the loss, and the latest and best validation; `what` is trained, if there are several."""

    def __init__(self, what: str = "steps") -> None:
        self._bar = Bar(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[loss]} {task.fields[found]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
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


class RunsBar:
    """Epochs done over several runs in processes of their own, read from their folders; a context manager."""

    def __init__(self, jobs: Sequence[Job]) -> None:
        self._jobs = jobs
        self._bar = Bar(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        self._task = self._bar.add_task("epochs", total=sum(job.config.epochs for job in jobs))

    def __enter__(self) -> Self:
        self.look()
        self._bar.start()
        return self

    def __exit__(self, *raised: object) -> None:
        self._bar.stop()

    def look(self) -> None:
        """See how far the runs are."""
        self._bar.update(self._task, completed=sum(map(_epochs_done, self._jobs)))

    def say(self, line: str) -> None:
        """Print a line above the bar."""
        self._bar.say(line)


def _epochs_done(job: Job) -> int:
    if (job.out / RUN).is_file():
        return job.config.epochs  # also where it stopped early
    try:
        return max((int(row["epoch"]) for row in read_rows(job.out / EVALUATIONS)), default=0)
    except (HeadError, KeyError, ValueError):
        return 0  # not there yet, or not as a run writes it: it only moves the bar


def listeners_of(job: Job, *, tensorboard: bool = False) -> list[Listener]:
    """What hears a run on its way: the bar and, if wanted, TensorBoard's writer, into the run's own folder.

    Raises
    ------
    HeadError
        The extra `tensorboard` is not installed.
    """
    if not tensorboard:
        return [TrainingBar(job.name)]
    from stages.head.training.tensorboard import TensorBoardWriter

    return [TrainingBar(job.name), TensorBoardWriter(job.out / "tensorboard")]
