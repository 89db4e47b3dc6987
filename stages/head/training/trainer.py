"""The training loop: Adam, accumulated and clipped gradients, a schedule, validation, early stopping, resuming.

All randomness of a batch comes from (seed, epoch, batch), so that a run that was cut off goes on to the same result.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from stages.common.device import autocast
from stages.head.config import TrainConfig
from stages.head.data.epoch_plan import PlannedBatch
from stages.head.data.records import Packed, Reader
from stages.head.errors import HeadError
from stages.head.model.packed import PackedModel
from stages.head.training.history import EvaluationRow, Listener, StepRow
from stages.head.training.schedule import make_schedule
from stages.head.training.step import Objective, batch_loss
from stages.metrics.agreement import Metrics, total

_BATCH_STREAM = 2


@dataclass
class RunState:
    """Where a run stands; `batch` is the next one of `epoch`."""

    epoch: int = 0
    batch: int = 0
    step: int = 0
    stale: int = 0
    best: float = -np.inf
    steps: list[StepRow] = field(default_factory=list)
    evaluations: list[EvaluationRow] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Hooks:
    """What the loop asks of its surroundings.

    `plan` gives an epoch's batches; `evaluate` scores the validation set; `improved` keeps a checkpoint that is better
    than all before; `checkpoint` keeps what a resume needs.
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
        How; `precision` is `fp32` or `bf16`.
    reader, hooks
        Where batches come from, and what happens around the loop.
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
        self.progress = RunState()

    def run(self) -> None:
        """Train to the end, from where `progress` stands.

        Raises
        ------
        HeadError
            A loss or a gradient is not finite; the message names the step and the songs.
        """
        self.model.train()
        for epoch in range(self.progress.epoch, self.config.epochs):
            self._epoch(self.hooks.plan(epoch))
            if self._has_stalled():
                break
            self.progress.epoch, self.progress.batch = epoch + 1, 0
            if self.config.evaluate_every == 0:
                self._evaluate()
        if self._unseen():
            self._evaluate()

    def _epoch(self, batches: list[PlannedBatch]) -> None:
        packed = self.reader.read([batch.items for batch in batches[self.progress.batch :]])
        while self.progress.batch < len(batches) and not self._has_stalled():
            self._step(packed, batches[self.progress.batch : self.progress.batch + self.config.accumulate])
            if self.config.evaluate_every and self.progress.step % self.config.evaluate_every == 0:
                self._evaluate()

    def _step(self, packed: Iterator[Packed], group: Sequence[PlannedBatch]) -> None:
        begun, waiting = time.perf_counter(), 0.0
        losses, last = torch.zeros(3, device=self.device), torch.zeros(3, device=self.device)
        for position, batch in enumerate(group, start=self.progress.batch):
            asked = time.perf_counter()
            data = next(packed)
            waiting += time.perf_counter() - asked
            last = self._backward(data, batch, position, share=1 / len(group))
            losses += last
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip_norm)
        # The only wait for a GPU in a step.
        *values, last_loss = torch.cat([losses, norm.reshape(1), last[:1] * len(group)]).tolist()
        self._refuse_nan(values, group)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.progress.batch += len(group)
        self._record(values, seconds=time.perf_counter() - begun, waiting=waiting)
        if self.schedule is not None:
            # The last batch's loss, not the step's mean: noisier, and what the published code goes by.
            self.schedule.step(last_loss)

    def _backward(self, packed: Packed, batch: PlannedBatch, position: int, *, share: float) -> torch.Tensor:
        """Add `share` of a batch's gradients; returns that share of its losses (3,), detached."""
        seed = _batch_seed(self.config.seed, self.progress.epoch, position)
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
            f"training stopped at step {self.progress.step + 1} (epoch {self.progress.epoch + 1}): loss {values[0]}, "
            f"gradient norm {values[3]}; its songs: {', '.join(songs)}. Try a lower --learning-rate or --precision fp32"
        )

    def _record(self, values: Sequence[float], *, seconds: float, waiting: float) -> None:
        loss, regression, ranking, norm = values
        self.progress.step += 1
        row = StepRow(
            step=self.progress.step,
            epoch=self.progress.epoch + 1,
            loss=loss,
            regression=regression,
            ranking=ranking,
            learning_rate=self.optimizer.param_groups[0]["lr"],
            gradient_norm=norm,
            seconds=seconds,
            waiting=waiting / seconds,
        )
        self.progress.steps.append(row)
        for listener in self.hooks.listeners:
            listener.step(row)

    def _evaluate(self) -> None:
        metrics = self.hooks.evaluate()
        better = total(metrics) > self.progress.best
        row = EvaluationRow(
            step=self.progress.step,
            epoch=self.progress.epoch if self.progress.batch == 0 else self.progress.epoch + 1,
            **{name.lower(): value for name, value in metrics["mean"].items()},
            total=total(metrics),
            best=better,
        )
        self.progress.evaluations.append(row)
        self.progress.stale = 0 if better else self.progress.stale + 1
        if better:
            self.progress.best = row.total
            self.hooks.improved(metrics)
        self.hooks.checkpoint()
        for listener in self.hooks.listeners:
            listener.evaluated(row)

    def _has_stalled(self) -> bool:
        return self.config.patience is not None and self.progress.stale >= self.config.patience

    def _unseen(self) -> bool:
        """Whether there were steps after the last validation, or none at all."""
        return not self.progress.evaluations or (
            self.progress.evaluations[-1].step < self.progress.step and not self._has_stalled()
        )


def _batch_seed(seed: int, epoch: int, position: int) -> int:
    return int(np.random.SeedSequence([seed, _BATCH_STREAM, epoch, position]).generate_state(1, np.uint64)[0] >> 1)
