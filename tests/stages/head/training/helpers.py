"""Runs that tests start, stop at a step, or must not start."""

from pathlib import Path

from stages.head.config import TrainConfig
from stages.head.training.history import Listener, StepRow
from stages.head.training.report import TrainReport
from stages.head.training.train import train_head


def trained(learnable, out: Path, config: TrainConfig, *, track: int = 2, **options) -> TrainReport:
    return train_head(
        store=learnable.store, manifest=learnable.manifest, track=track, out=out, config=config, **options
    )


class NeverCalled(Listener):
    """Fails if anything is trained."""

    def begin(self, *, steps: int, done: int) -> None:
        raise AssertionError(f"{steps} steps begin")


class StopsAt(Listener):
    """Ends a run at a step, as a kill would."""

    def __init__(self, step: int) -> None:
        self._step = step

    def step(self, row: StepRow) -> None:
        if row.step == self._step:
            raise InterruptedError
