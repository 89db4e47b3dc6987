"""The training loop: Adam, accumulated and clipped gradients, a schedule, validation, early stopping, resuming.

All randomness of a batch comes from (seed, epoch, batch), so that a resumed run has the same result.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
import torch
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau

from stages.common.device import autocast
from stages.head.config import TrainConfig
from stages.head.data.epoch_plan import Item, PlannedBatch
from stages.head.data.reader import Reader
from stages.head.data.records import Packed
from stages.head.errors import HeadError
from stages.head.model.packed import PackedModel
from stages.head.training.history import EvaluationRow, Listener, StepRow
from stages.head.training.step import Objective, batch_loss
from stages.metrics.agreement import Metrics, total

_BATCH_STREAM = 2
# The published plateau rule: factor per halving, and lowest learning rate.
FACTOR, FLOOR = 0.5, 1e-8


@dataclass
class RunState:
    """The state of a run; `batch` is the next one of `epoch`, `stale` counts validations without improvement."""

    epoch: int = 0
    batch: int = 0
    step: int = 0
    stale: int = 0
    best: float = -np.inf
    steps: list[StepRow] = field(default_factory=list)
    evaluations: list[EvaluationRow] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Hooks:
    """Functions that the training loop calls.

    `plan` returns an epoch's batches; `evaluate` scores the validation songs; `improved` saves a head that is better
    than all before; `checkpoint` saves the state to resume from.
    """

    plan: Callable[[int], list[PlannedBatch]]
    evaluate: Callable[[], Metrics]
    improved: Callable[[Metrics], None]
    checkpoint: Callable[[], None]
    listeners: Sequence[Listener] = ()


class Trainer:
    """Trains one head.

    Parameters
    ----------
    model
        On its device, in fp32.
    config, objective, precision
        The choices of the run; `precision` is `fp32` or `bf16`.
    reader, hooks
        The source of batches, and functions that the loop calls.
    """

    def __init__(
        self,
        model: PackedModel,
        config: TrainConfig,
        objective: Objective,
        *,
        precision: str,
        reader: Reader,
        hooks: Hooks,
    ) -> None:
        self.model, self.config, self.objective = model, config, objective
        self.precision, self.reader, self.hooks = precision, reader, hooks
        self.device = next(model.parameters()).device
        self.optimizer = torch.optim.Adam(model.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)
        self.schedule = make_schedule(self.optimizer, config)
        self.state = RunState()

    def run(self) -> None:
        """Train from the current state to the end.

        Raises
        ------
        HeadError
            A loss or a gradient is not finite; the message names the step and the songs.
        """
        self.model.train()
        # Reading goes on over the ends of epochs, so the next plan is needed early.
        plan = lru_cache(maxsize=2)(self.hooks.plan)
        with closing(self.reader.read(self._coming_items(plan))) as packed:
            for epoch in range(self.state.epoch, self.config.epochs):
                self._epoch(packed, plan(epoch))
                if self._has_stalled():
                    break
                self.state.epoch, self.state.batch = epoch + 1, 0
                if self.config.evaluate_every == 0:
                    self._evaluate()
        if self._needs_validation():
            self._evaluate()

    def _coming_items(self, plan: Callable[[int], list[PlannedBatch]]) -> Iterator[Sequence[Item]]:
        """The records of each batch from the current one to the last of the last epoch."""
        start = self.state.batch
        for epoch in range(self.state.epoch, self.config.epochs):
            yield from (batch.items for batch in plan(epoch)[start:])
            start = 0

    def _epoch(self, packed: Iterator[Packed], batches: list[PlannedBatch]) -> None:
        while self.state.batch < len(batches) and not self._has_stalled():
            self._step(packed, batches[self.state.batch : self.state.batch + self.config.accumulate])
            if self.config.evaluate_every and self.state.step % self.config.evaluate_every == 0:
                self._evaluate()

    def _step(self, packed: Iterator[Packed], group: Sequence[PlannedBatch]) -> None:
        begun, waiting = time.perf_counter(), 0.0
        losses, last = torch.zeros(3, device=self.device), torch.zeros(3, device=self.device)
        for position, batch in enumerate(group, start=self.state.batch):
            before = time.perf_counter()
            data = next(packed)
            waiting += time.perf_counter() - before
            last = self._backward(data, batch, position, share=1 / len(group))
            losses += last
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip_norm)
        # The only point in a step that waits for a GPU.
        *values, last_loss = torch.cat([losses, norm.reshape(1), last[:1] * len(group)]).tolist()
        self._refuse_nan(values, group)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.state.batch += len(group)
        self._record(values, seconds=time.perf_counter() - begun, waiting=waiting)
        if self.schedule is not None:
            # The last batch's loss, not the step's mean: noisier, but the published code uses it.
            self.schedule.step(last_loss)

    def _backward(self, packed: Packed, batch: PlannedBatch, position: int, *, share: float) -> torch.Tensor:
        """Add a batch's gradients, weighted by `share`; return its losses (3,), weighted and detached."""
        seed = _batch_seed(self.config.seed, self.state.epoch, position)
        torch.manual_seed(seed)  # dropout
        ties = torch.Generator().manual_seed(seed)
        with autocast(self.device, self.precision):
            losses = torch.stack(batch_loss(self.model, packed, batch, self.objective, generator=ties)) * share
        losses[0].backward()
        return losses.detach()

    def _refuse_nan(self, values: Sequence[float], group: Sequence[PlannedBatch]) -> None:
        if np.isfinite(values).all():
            return
        songs = sorted({item.song for batch in group for item in batch.items})
        raise HeadError(
            f"training stopped at step {self.state.step + 1} (epoch {self.state.epoch + 1}): loss {values[0]}, "
            f"gradient norm {values[3]}; its songs: {', '.join(songs)}. Try a lower --learning-rate or --precision fp32"
        )

    def _record(self, values: Sequence[float], *, seconds: float, waiting: float) -> None:
        loss, regression, ranking, norm = values
        self.state.step += 1
        row = StepRow(
            step=self.state.step,
            epoch=self.state.epoch + 1,
            loss=loss,
            regression=regression,
            ranking=ranking,
            learning_rate=self.optimizer.param_groups[0]["lr"],
            gradient_norm=norm,
            seconds=seconds,
            waiting=waiting / seconds,
        )
        self.state.steps.append(row)
        for listener in self.hooks.listeners:
            listener.step(row)

    def _evaluate(self) -> None:
        metrics = self.hooks.evaluate()
        better = total(metrics) > self.state.best
        row = EvaluationRow(
            step=self.state.step,
            epoch=self.state.epoch if self.state.batch == 0 else self.state.epoch + 1,
            **{name.lower(): value for name, value in metrics["mean"].items()},
            total=total(metrics),
            best=better,
        )
        self.state.evaluations.append(row)
        self.state.stale = 0 if better else self.state.stale + 1
        if better:
            self.state.best = row.total
            self.hooks.improved(metrics)
        self.hooks.checkpoint()
        for listener in self.hooks.listeners:
            listener.evaluated(row)

    def _has_stalled(self) -> bool:
        return self.config.patience is not None and self.state.stale >= self.config.patience

    def _needs_validation(self) -> bool:
        """Whether there were steps after the last validation, or none at all."""
        return not self.state.evaluations or (
            self.state.evaluations[-1].step < self.state.step and not self._has_stalled()
        )


def make_schedule(optimizer: Optimizer, config: TrainConfig) -> ReduceLROnPlateau | None:
    """The plateau rule for this optimizer, which needs a loss after each step; None for a constant rate.

    The published settings: the rate is halved after more than `plateau_patience` steps in a row without a loss below
    0.9999 times the lowest one, down to 1e-8. torch skips changes of 1e-8 and less, so a rate of 1e-5 ends at 2e-8.
    """
    if config.schedule == "constant":
        return None
    return ReduceLROnPlateau(optimizer, factor=FACTOR, patience=config.plateau_patience, min_lr=FLOOR)


def _batch_seed(seed: int, epoch: int, position: int) -> int:
    return int(np.random.SeedSequence([seed, _BATCH_STREAM, epoch, position]).generate_state(1, np.uint64)[0] >> 1)
