"""The learning rate over a run: constant, or halved when the loss stops falling, as the published code does."""

from torch.optim import Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau

from stages.head.config import TrainConfig

FACTOR, FLOOR = 0.5, 1e-8


def make_schedule(optimizer: Optimizer, config: TrainConfig) -> ReduceLROnPlateau | None:
    """The plateau rule for this optimiser, to be told a loss after each step; None for a constant rate.

    The published settings: once more than `plateau_patience` steps in a row had no loss below 0.9999 times the lowest
    one, the rate is halved, down to 1e-8. torch skips changes of 1e-8 and less, so a rate of 1e-5 ends at 2e-8.
    """
    if config.schedule == "constant":
        return None
    return ReduceLROnPlateau(optimizer, factor=FACTOR, patience=config.plateau_patience, min_lr=FLOOR)
