"""Training on a GPU: repeatable, resumable, and its heads move to other devices."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from stages.head.checkpoint.saved import load_head
from stages.head.checkpoint.score import score_records
from stages.head.config import TrainConfig
from store import EmbeddingStore
from tests.stages.head.training.helpers import StopsAt, trained

pytestmark = [pytest.mark.cuda]


@pytest.fixture(params=["fp32", "bf16"])
def on_gpu(request: pytest.FixtureRequest, config: TrainConfig) -> TrainConfig:
    return replace(config, device="cuda", precision=request.param)


def results(out: Path) -> dict[str, bytes]:
    names = ("model.safetensors", "novelty.safetensors", "metrics.json", "predictions.csv", "evaluations.csv")
    return {name: (out / name).read_bytes() for name in names}


@pytest.mark.parametrize("architecture", ["hear", "songeval"])
def test_a_seeded_run_repeats_bit_for_bit(tmp_path: Path, learnable, on_gpu: TrainConfig, architecture: str) -> None:
    chosen = replace(on_gpu, architecture=architecture)
    for name in ("one", "two"):
        trained(learnable, tmp_path / name, chosen)
    assert results(tmp_path / "one") == results(tmp_path / "two")


def test_a_resumed_run_has_the_same_result(tmp_path: Path, learnable, on_gpu: TrainConfig) -> None:
    chosen = replace(on_gpu, evaluate_every=2)
    trained(learnable, tmp_path / "whole", chosen)
    with pytest.raises(InterruptedError):
        trained(learnable, tmp_path / "parts", chosen, listeners=(StopsAt(3),))
    trained(learnable, tmp_path / "parts", chosen, resume=True)
    assert results(tmp_path / "parts") == results(tmp_path / "whole")


@pytest.mark.parametrize("devices", [("cuda", "cpu"), ("cpu", "cuda")])
def test_heads_move_between_devices(tmp_path: Path, learnable, config: TrainConfig, devices: tuple[str, str]) -> None:
    trained(learnable, tmp_path / "run", replace(config, device=devices[0], precision="fp32"))
    store = EmbeddingStore.open(learnable.store)
    heads = [load_head(tmp_path / "run", device=name) for name in devices]
    here, there = (score_records(head, store, store.songs) for head in heads)
    np.testing.assert_allclose(there, here, atol=1e-4, rtol=0)
