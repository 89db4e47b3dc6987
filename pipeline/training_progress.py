"""Shows the progress of training runs."""

from collections.abc import Sequence

from pipeline.show.bars import Bar
from stages.head.checkpoint.layout import RUN
from stages.head.errors import HeadError
from stages.head.training.history import EVALUATIONS, EvaluationRow, Listener, StepRow, read_rows
from stages.head.training.runs import Job


class TrainingBar(Listener):
    """Shows steps, the loss, and the latest and best validation of one run."""

    def __init__(self, what: str = "steps") -> None:
        self._bar = Bar(what)
        self._loss = self._validation = self._best = ""

    def begin(self, *, steps: int, done: int) -> None:
        """Show the bar."""
        self._bar.update(done=done, total=steps)
        self._bar.__enter__()

    def step(self, row: StepRow) -> None:
        """Count a step."""
        self._loss = f"epoch {row.epoch} loss {row.loss:.3f}"
        self._bar.update(done=row.step, text=f"{self._loss} {self._validation}")

    def evaluated(self, row: EvaluationRow) -> None:
        """Show the result of a validation."""
        if row.best:
            self._best = f"best {row.total:.3f}"
        self._validation = f"SRCC {row.srcc:.3f} LCC {row.lcc:.3f} sum {row.total:.3f} {self._best}"
        self._bar.update(text=f"{self._loss} {self._validation}")

    def end(self) -> None:
        """Remove the bar."""
        self._bar.__exit__()


def listeners_of(job: Job, *, tensorboard: bool = False) -> list[Listener]:
    """The listeners of a run: the bar and, if wanted, TensorBoard's writer, into the run's own folder.

    Raises
    ------
    HeadError
        The extra `tensorboard` is not installed.
    """
    if not tensorboard:
        return [TrainingBar(job.name)]
    from stages.head.training.tensorboard import TensorBoardWriter

    return [TrainingBar(job.name), TensorBoardWriter(job.out / "tensorboard")]


def total_epochs(jobs: Sequence[Job]) -> int:
    """Epochs of all runs."""
    return sum(job.config.epochs for job in jobs)


def epochs_done(jobs: Sequence[Job]) -> int:
    """Finished epochs of all runs, read from their folders, as the runs are in other processes."""
    return sum(map(_epochs_done, jobs))


def _epochs_done(job: Job) -> int:
    if (job.out / RUN).is_file():
        return job.config.epochs  # even if it stopped early
    try:
        return max((int(row["epoch"]) for row in read_rows(job.out / EVALUATIONS)), default=0)
    except (HeadError, KeyError, ValueError):
        return 0  # not written yet, or unreadable: this only moves the bar
