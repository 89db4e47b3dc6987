"""A run's curves for TensorBoard, an optional extra; the run folder's CSV files hold the same values."""

from dataclasses import asdict
from pathlib import Path

from stages.head.errors import HeadError
from stages.head.training.history import EvaluationRow, Listener, StepRow

_STEP_SCALARS = ("loss", "regression", "ranking", "learning_rate", "gradient_norm")
_VALIDATION_SCALARS = ("lcc", "srcc", "ktau", "tta", "total")


class TensorBoardWriter(Listener):
    """Writes scalars into a folder, by step.

    Parameters
    ----------
    folder
        Where TensorBoard's event files go.

    Raises
    ------
    HeadError
        The extra is not installed.
    """

    def __init__(self, folder: Path) -> None:
        try:
            import tensorboard  # noqa: F401  torch's own message names neither the extra nor the option
        except ImportError as error:
            raise HeadError(
                "--tensorboard needs the extra `tensorboard`: pip install 'hear-music[tensorboard]'"
            ) from error
        self._folder = folder

    def begin(self, *, steps: int, done: int) -> None:
        """Open the event file; a resumed run hides the steps that were written after its last checkpoint."""
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(self._folder), purge_step=done + 1)

    def step(self, row: StepRow) -> None:
        """Write a step's losses, learning rate and gradient norm."""
        for name in _STEP_SCALARS:
            self._writer.add_scalar(f"train/{name}", asdict(row)[name], row.step)

    def evaluated(self, row: EvaluationRow) -> None:
        """Write a validation's metrics, means over dimensions."""
        for name in _VALIDATION_SCALARS:
            self._writer.add_scalar(f"validation/{name}", asdict(row)[name], row.step)

    def end(self) -> None:
        """Close the file."""
        self._writer.close()
