"""The code paths of a GPU without a GPU: shapes at published sizes, and no step that waits for a value.

The forward pass runs on fake CUDA tensors, which refuse to be read. Autograd needs a real GPU for such tensors, so the
backward pass runs on meta tensors, told to take the same paths.
"""

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch._subclasses import FakeTensorMode

from stages.head.data.epoch_plan import PlannedBatch
from stages.head.data.records import Packed
from stages.head.model import attention, packed
from stages.head.model.architectures import make_model
from stages.head.model.packed import PackedModel
from stages.head.model.sizes import ModelSizes, preset_sizes, songeval_sizes
from stages.head.training.step import Objective, batch_loss

LENGTHS = [1_400, 1_750, 2_100, 900]
HEADS = {
    "paper": preset_sizes("paper", features=4096, classes=5),
    "small": preset_sizes("small", features=4096, classes=5),
    "songeval": songeval_sizes("paper", features=1024, classes=5),
}


@pytest.fixture(params=list(HEADS))
def sizes(request: pytest.FixtureRequest) -> ModelSizes:
    return HEADS[request.param]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """The shapes of the queries of each variable-length attention call."""
    found: list[tuple[int, ...]] = []
    varlen = attention.varlen_attn

    def record(query: torch.Tensor, *rest: torch.Tensor | int) -> object:
        found.append(tuple(query.shape))
        return varlen(query, *rest)

    monkeypatch.setattr(attention, "varlen_attn", record)
    return found


@pytest.fixture
def cuda_bf16() -> Iterator[None]:
    """What torch.autocast("cuda", torch.bfloat16) sets: it refuses to without a GPU."""
    torch.set_autocast_dtype("cuda", torch.bfloat16)
    torch.set_autocast_enabled("cuda", True)
    try:
        yield
    finally:
        torch.set_autocast_enabled("cuda", False)
        torch.set_autocast_dtype("cuda", torch.float16)


def loss_of(model: PackedModel, mix: str) -> torch.Tensor:
    frames = torch.empty(sum(LENGTHS) * model.sizes.stride, model.sizes.features, dtype=torch.float16)
    batch = PlannedBatch((), 2, np.ones((2, 5), np.float32), 0.3)
    objective = Objective(beta=0.05, smooth_l1_beta=0.5, mix=mix)
    return batch_loss(model, Packed(frames, LENGTHS), batch, objective, generator=torch.Generator())[0]


@pytest.mark.usefixtures("cuda_bf16")
@pytest.mark.parametrize(("mix", "patches"), [("pooled", 6_150), ("frames", 2_300)])
def test_a_forward_pass_reads_no_value_and_attends_once_per_layer(
    monkeypatch: pytest.MonkeyPatch, calls: list[tuple[int, ...]], sizes: ModelSizes, mix: str, patches: int
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    with FakeTensorMode(), torch.device("cuda"):
        model = make_model(sizes).train()
        with torch.device("cpu"):
            loss = loss_of(model, mix)
    assert (loss.shape, loss.device.type) == ((), "cuda")
    if sizes is HEADS["songeval"]:
        assert not calls  # dropout on the weights, which variable-length attention does not have
    else:
        assert calls == [(patches, sizes.heads, sizes.attended // sizes.heads)] * len(model.attention)


def test_a_backward_pass_reaches_every_parameter(
    monkeypatch: pytest.MonkeyPatch, calls: list[tuple[int, ...]], sizes: ModelSizes
) -> None:
    class OnGpu(packed.Songs):
        def __init__(self, lengths: list[int], device: torch.device) -> None:
            super().__init__(lengths, device)
            self.padded = True

    for module in ("hear", "songeval"):
        monkeypatch.setattr(f"stages.head.model.{module}.Songs", OnGpu)
        monkeypatch.setattr(f"stages.head.model.{module}.compute_type", lambda device, weight: torch.bfloat16)
    monkeypatch.setattr(attention, "has_varlen", lambda joint: joint.dtype == torch.bfloat16)
    with torch.device("meta"):
        model = make_model(sizes).bfloat16().train()
        model.output.float()
    loss_of(model, "pooled").backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    assert bool(calls) == (sizes is not HEADS["songeval"])
