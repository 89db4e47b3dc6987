"""The training loop against the same steps in NumPy, and the choice of the best validation."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch.optim.lr_scheduler import ReduceLROnPlateau

from stages.head.config import TrainConfig
from stages.head.data.epoch_plan import Item, PlannedBatch
from stages.head.data.records import Packed
from stages.head.model.hear import HearHead
from stages.head.model.packed import PackedModel
from stages.head.model.sizes import HeadSizes, ModelSizes
from stages.head.training.step import Objective
from stages.head.training.trainer import Hooks, Trainer, make_schedule
from stages.metrics.agreement import METRICS, Metrics

FEATURES, SONGS = 3, 4
TRAIN_CONFIG = TrainConfig(epochs=1, accumulate=2, learning_rate=0.02, weight_decay=0.5, clip_norm=1e6)


class Frames:
    """Reads random frames of a batch by its first song's name, instead of a store's."""

    def __init__(self, features: int) -> None:
        self.features = features

    def read(self, batches: Iterable[Sequence[Item]]) -> Iterator[Packed]:
        for items in batches:
            yield Packed(torch.from_numpy(frames_of(int(items[0].song), self.features)), [1] * SONGS)


class LinearHead(PackedModel):
    """One frame per song, one linear layer."""

    def __init__(self) -> None:
        super().__init__(ModelSizes(features=FEATURES, classes=2, heads=1))
        self.output = torch.nn.Linear(FEATURES, 2)

    def pool(self, frames: torch.Tensor, lengths: Sequence[int]) -> torch.Tensor:
        return frames


class NumpyAdam:
    """Adam with the weight decay in the gradient (arXiv 1412.6980, algorithm 1), β 0.9 and 0.999."""

    def __init__(self, values: NDArray[np.float64]) -> None:
        self.values, self.mean, self.square, self.count = values, np.zeros_like(values), np.zeros_like(values), 0

    def step(self, gradient: NDArray[np.float64], *, rate: float, decay: float) -> None:
        self.count += 1
        gradient = gradient + decay * self.values
        self.mean = 0.9 * self.mean + 0.1 * gradient
        self.square = 0.999 * self.square + 0.001 * gradient**2
        mean, square = self.mean / (1 - 0.9**self.count), self.square / (1 - 0.999**self.count)
        self.values = self.values - rate * mean / (np.sqrt(square) + 1e-8)


def frames_of(batch: int, features: int = FEATURES) -> NDArray[np.float32]:
    return np.random.default_rng([1, batch]).normal(0, 1, (SONGS, features)).astype(np.float32)


def make_batches(count: int) -> list[PlannedBatch]:
    """Batches without partners; each names its frames."""
    targets = np.random.default_rng(2).uniform(1, 5, (count, SONGS, 2)).astype(np.float32)
    return [PlannedBatch((Item(str(number), 0, 0.0),), SONGS, targets[number], 1.0) for number in range(count)]


def make_trainer(model: PackedModel, batches: list[PlannedBatch], config: TrainConfig, **options) -> Trainer:
    def nothing(*_: object) -> None:
        """Save no checkpoint."""

    hooks = {"evaluate": lambda: scored(0, 0, 0, 0), "improved": nothing, "checkpoint": nothing}
    return Trainer(
        model,
        config,
        Objective(beta=0.0, smooth_l1_beta=0.5, mix="none"),
        precision=options.pop("precision", "fp32"),
        reader=Frames(model.sizes.features),
        hooks=Hooks(plan=lambda epoch: batches, **{**hooks, **options}),
    )


def scored(*means: float) -> Metrics:
    return {"mean": dict(zip(METRICS, means, strict=True))}


def gradient_of(values: NDArray[np.float64], batch: PlannedBatch, number: int) -> tuple[float, NDArray[np.float64]]:
    """SmoothL1 of a linear head, and its gradient; `values` are the weights (2, F), then the biases (2,)."""
    inputs = np.concatenate([frames_of(number).astype(np.float64), np.ones((SONGS, 1))], axis=1)
    squashed = np.tanh(inputs @ np.column_stack([values[:-2].reshape(2, FEATURES), values[-2:]]).T)
    off = squashed * 2 + 3 - batch.targets
    far = np.abs(off)
    slope = np.clip(off / 0.5, -1, 1) / off.size * 2 * (1 - squashed**2)
    joint = slope.T @ inputs  # (2, F + 1), the biases' last
    return np.where(far < 0.5, far**2, far - 0.25).mean(), np.concatenate([joint[:, :-1].ravel(), joint[:, -1]])


def flat(model: torch.nn.Module) -> NDArray[np.float64]:
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()]).double().numpy()


@pytest.mark.parametrize("clip_norm", [1e6, 0.05])
def test_steps_are_adams_on_clipped_means_of_accumulated_gradients(clip_norm: float) -> None:
    torch.manual_seed(0)
    model, batches = LinearHead(), make_batches(5)
    adam, rows = NumpyAdam(flat(model)), []
    for group in ((0, 1), (2, 3), (4,)):  # two batches per step; the last has one, which then counts fully
        found = [gradient_of(adam.values, batches[number], number) for number in group]
        loss, gradient = np.mean([loss for loss, _ in found]), np.mean([gradient for _, gradient in found], axis=0)
        norm = np.linalg.norm(gradient)
        assert norm > 0.1  # so that the smaller limit applies
        rows.append((loss, norm, TRAIN_CONFIG.learning_rate))
        adam.step(gradient * min(1, clip_norm / norm), rate=TRAIN_CONFIG.learning_rate, decay=TRAIN_CONFIG.weight_decay)
    trainer = make_trainer(model, batches, replace(TRAIN_CONFIG, clip_norm=clip_norm))
    trainer.run()
    np.testing.assert_allclose(flat(model), adam.values, rtol=0, atol=2e-6)
    steps = [(row.loss, row.gradient_norm, row.learning_rate) for row in trainer.state.steps]
    np.testing.assert_allclose(steps, rows, rtol=1e-5)


def plateau_rates(losses: Sequence[float], *, rate: float, patience: int) -> list[float]:
    """The rate after each loss: halved at the first loss after `patience` ones in a row that were not the lowest."""
    lowest, waited, rates = np.inf, 0, []
    for loss in losses:
        lowest, waited = (loss, 0) if loss < lowest * 0.9999 else (lowest, waited + 1)
        if waited > patience:
            rate, waited = max(rate / 2, 1e-8), 0
        rates.append(rate)
    return rates


@pytest.mark.parametrize("patience", [1, 2])
def test_on_a_plateau_of_the_last_batchs_loss_the_rate_of_the_next_step_is_halved(patience: int) -> None:
    torch.manual_seed(0)
    model, batches = LinearHead(), make_batches(23)  # two batches per step; the last step has one
    adam, last, means = NumpyAdam(flat(model)), [], []
    for step, start in enumerate(range(0, 23, 2)):
        rate = [TRAIN_CONFIG.learning_rate, *plateau_rates(last, rate=TRAIN_CONFIG.learning_rate, patience=patience)][
            step
        ]
        found = [gradient_of(adam.values, batches[number], number) for number in range(start, min(start + 2, 23))]
        last.append(found[-1][0])
        means.append(np.mean([loss for loss, _ in found]))
        adam.step(np.mean([gradient for _, gradient in found], axis=0), rate=rate, decay=TRAIN_CONFIG.weight_decay)
    after = plateau_rates(last, rate=TRAIN_CONFIG.learning_rate, patience=patience)
    assert after != plateau_rates(means, rate=TRAIN_CONFIG.learning_rate, patience=patience), (
        "the two rules must differ here"
    )
    assert after[-1] < TRAIN_CONFIG.learning_rate / 2
    trainer = make_trainer(model, batches, replace(TRAIN_CONFIG, schedule="plateau", plateau_patience=patience))
    trainer.run()
    assert [row.learning_rate for row in trainer.state.steps] == [TRAIN_CONFIG.learning_rate, *after[:-1]]
    np.testing.assert_allclose(flat(model), adam.values, rtol=0, atol=2e-6)


def rates_of(schedule: ReduceLROnPlateau, losses: Sequence[float]) -> list[float]:
    rates = []
    for loss in losses:
        schedule.step(loss)
        rates.append(schedule.optimizer.param_groups[0]["lr"])
    return rates


def adam_of(rate: float) -> torch.optim.Adam:
    return torch.optim.Adam(LinearHead().parameters(), lr=rate)


def test_the_schedule_is_torch_s_with_the_published_settings() -> None:
    generator = np.random.default_rng(0)
    losses = 1 / (1 + np.arange(4_140) / 900) + generator.normal(0, 0.05, 4_140)
    published = ReduceLROnPlateau(adam_of(1e-5), mode="min", factor=0.5, patience=400, min_lr=1e-8)
    rates = rates_of(make_schedule(adam_of(1e-5), TrainConfig(schedule="plateau")), losses)
    assert rates == rates_of(published, losses) == plateau_rates(losses, rate=1e-5, patience=400)
    assert 1 < len(set(rates)) <= 1 + 4_140 // 401


@pytest.mark.parametrize(("rate", "floor"), [(1e-5, 1e-5 / 2**9), (1e-3, 1e-3 / 2**16), (1e-8, 1e-8), (1e-9, 1e-9)])
def test_a_loss_that_never_falls_halves_the_rate_every_401_steps_to_the_floor(rate: float, floor: float) -> None:
    rates = rates_of(make_schedule(adam_of(rate), TrainConfig(schedule="plateau")), [0.5] + [1.0] * 401 * 20)
    halved = [rate / 2**times for times in range(20) if rate / 2**times >= floor]
    expected = [value for value in halved for _ in range(401)]
    assert rates == [*expected, *[floor] * (len(rates) - len(expected))]


def test_the_rate_is_constant_by_default() -> None:
    assert make_schedule(torch.optim.Adam(LinearHead().parameters()), TrainConfig()) is None
    assert TrainConfig().schedule == "constant"


@pytest.mark.parametrize(("precision", "dtype"), [("bf16", torch.bfloat16), ("fp32", torch.float32)])
def test_products_have_the_chosen_precision_statistics_and_weights_float32(precision: str, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    sizes = HeadSizes(features=6, classes=2, projected=8, width=8, hidden=8, layers=1, heads=2, bottleneck=4, stride=1)
    model = HearHead(sizes)
    products: list[torch.dtype] = []
    for module in model.modules():
        if isinstance(module, torch.nn.Linear):
            module.register_forward_hook(lambda module, inputs, output: products.append(output.dtype))
    pooling: list[tuple[torch.dtype, torch.dtype]] = []
    model.pooling.register_forward_hook(lambda module, inputs, output: pooling.append((inputs[0].dtype, output.dtype)))
    make_trainer(model, make_batches(2), TRAIN_CONFIG, precision=precision).run()
    assert products == [dtype] * len(products)
    assert pooling == [(dtype, torch.float32)] * 2
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


def test_the_best_validation_has_the_highest_sum_of_the_four_metrics() -> None:
    # Each of the others is the highest in one metric, or comes later; the fourth only equals the best.
    seen = [scored(0.9, 0.1, 0.1, 0.1), scored(0.5, 0.6, 0.4, 0.5), scored(0.1, 0.9, 0.5, 0.1)]
    seen += [scored(0.5, 0.6, 0.4, 0.5), scored(0.1, 0.1, 0.1, 0.9)]
    coming, kept = iter(seen), []
    trainer = make_trainer(
        LinearHead(),
        make_batches(1),
        replace(TRAIN_CONFIG, epochs=5),
        evaluate=lambda: next(coming),
        improved=kept.append,
    )
    trainer.run()
    assert kept == seen[:2]
    assert kept[-1] is seen[1]
    assert [row.best for row in trainer.state.evaluations] == [True, True, False, False, False]
    assert [row.total for row in trainer.state.evaluations] == pytest.approx([1.2, 2.0, 1.6, 2.0, 1.2])
    assert trainer.state.best == pytest.approx(2.0)
