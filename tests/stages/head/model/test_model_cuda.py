"""Heads on a GPU against the same heads on the CPU."""

import numpy as np
import pytest
import torch

from stages.common.device import autocast, repeatable
from stages.head.checkpoint.head import score_packed
from stages.head.data.epoch_plan import PlannedBatch
from stages.head.data.records import Packed
from stages.head.model.architectures import make_model
from stages.head.model.packed import PackedModel
from stages.head.model.sizes import HeadSizes, ModelSizes, SongEvalSizes
from stages.head.training.step import Objective, batch_loss

pytestmark = [pytest.mark.cuda]

LENGTHS = [210, 33, 140, 1]
HEADS = {
    "hear": HeadSizes(features=64, classes=5, projected=128, width=128, hidden=256, layers=2, heads=4, dropout=0.0),
    "songeval": SongEvalSizes(features=64, classes=5, hidden=128, layers=2, heads=4, dropout=0.0),
}
CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.fixture(params=list(HEADS))
def sizes(request: pytest.FixtureRequest) -> ModelSizes:
    return HEADS[request.param]


def made(sizes: ModelSizes, device: torch.device) -> PackedModel:
    torch.manual_seed(0)
    return make_model(sizes).to(device).train()


def data(sizes: ModelSizes) -> Packed:
    generator = torch.Generator().manual_seed(1)
    return Packed(torch.randn(sum(LENGTHS) * sizes.stride, sizes.features, generator=generator).half(), LENGTHS)


def results(model: PackedModel, precision: str) -> list[torch.Tensor]:
    """The loss and the gradients of all parameters, on the CPU."""
    device = next(model.parameters()).device
    targets = 1 + 4 * np.random.default_rng(2).random((2, 5), np.float32)
    objective = Objective(beta=0.15, smooth_l1_beta=0.5, mix="pooled")
    ties = torch.Generator().manual_seed(0)
    model.zero_grad()
    with autocast(device, precision):
        loss = batch_loss(model, data(model.sizes), PlannedBatch((), 2, targets, 0.3), objective, generator=ties)[0]
    loss.backward()
    return [tensor.detach().cpu() for tensor in (loss, *(p.grad for p in model.parameters() if p.grad is not None))]


def test_losses_and_gradients_agree_with_the_cpu(sizes: ModelSizes) -> None:
    for mine, expected in zip(results(made(sizes, CUDA), "fp32"), results(made(sizes, CPU), "fp32"), strict=True):
        torch.testing.assert_close(mine, expected, atol=1e-4 * max(1.0, expected.abs().max().item()), rtol=1e-4)


def test_bf16_is_close_to_fp32(sizes: ModelSizes) -> None:
    found, expected = results(made(sizes, CUDA), "bf16"), results(made(sizes, CPU), "fp32")
    assert found[0].item() == pytest.approx(expected[0].item(), rel=0.02)
    mine, right = (torch.cat([gradient.flatten() for gradient in all_[1:]]) for all_ in (found, expected))
    assert torch.cosine_similarity(mine, right, dim=0) > 0.99


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_gradients_have_the_same_bits_twice(sizes: ModelSizes, precision: str) -> None:
    with repeatable(0, CUDA):
        model = made(sizes, CUDA)
        first, second = results(model, precision), results(model, precision)
    assert all(torch.equal(one, two) for one, two in zip(first, second, strict=True))


def test_songs_of_a_bf16_batch_do_not_see_each_other() -> None:
    model = made(HEADS["hear"], CUDA)
    frames, lengths = data(model.sizes)
    with torch.no_grad(), autocast(CUDA, "bf16"):
        together = model.pool(frames.to(CUDA), lengths)
        songs = frames.to(CUDA).split([length * model.sizes.stride for length in lengths])
        alone = torch.cat([model.pool(song, [length]) for song, length in zip(songs, lengths, strict=True)])
    torch.testing.assert_close(together, alone, atol=2e-2, rtol=2e-2)


def test_scores_agree_with_the_cpu(sizes: ModelSizes) -> None:
    on_gpu, on_cpu = (score_packed(made(sizes, device), data(sizes)) for device in (CUDA, CPU))
    np.testing.assert_allclose(on_gpu, on_cpu, atol=1e-4, rtol=0)


def test_a_step_never_waits_for_the_gpu(sizes: ModelSizes) -> None:
    model = made(sizes, CUDA)
    results(model, "bf16")  # the first use of cuBLAS may wait
    frames, lengths = data(sizes)
    resident, targets = Packed(frames.to(CUDA), lengths), np.ones((2, 5), np.float32)
    objective = Objective(beta=0.15, smooth_l1_beta=0.5, mix="pooled")
    torch.cuda.set_sync_debug_mode("error")
    try:
        with autocast(CUDA, "bf16"):
            loss = batch_loss(
                model, resident, PlannedBatch((), 2, targets, 0.3), objective, generator=torch.Generator()
            )[0]
        loss.backward()
    finally:
        torch.cuda.set_sync_debug_mode("default")
