"""Audiobox Aesthetics, small and untrained, from a hub and a folder: as its package scores the same samples."""

import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from stages.common.hub import HubError
from stages.scoring.beside.registry import load_companions
from stages.scoring.errors import ScoringError

# Of the package: a norm of torch's and two kinds of masks that will change.
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*weight_norm:FutureWarning"),
    pytest.mark.filterwarnings("ignore:Support for mismatched key_padding_mask:UserWarning"),
]
needs_package = pytest.mark.skipif(
    importlib.util.find_spec("audiobox_aesthetics") is None, reason="needs the extra `audiobox`"
)
REPO = "facebook/audiobox-aesthetics"
SMALL = {
    "encoder_layers": 2,
    "encoder_embed_dim": 32,
    "encoder_ffn_embed_dim": 32,
    "encoder_attention_heads": 2,
    "conv_feature_layers": "[(8,10,5)] + [(8,3,2)] * 4 + [(8,2,2)] * 2",
    "conv_pos": 8,
    "conv_pos_groups": 2,
}


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a small model of the package's architecture, as the package saves it."""
    from audiobox_aesthetics.model import aes

    about = {**vars(aes.DEFAULT_AUDIO_CFG), **SMALL}
    monkeypatch.setattr(aes, "DEFAULT_AUDIO_CFG", aes.WavLMConfig(about))
    torch.manual_seed(0)
    targets = {axis: {"mean": 5.0 + number, "std": 2.0} for number, axis in enumerate(aes.AXES_NAME)}
    model = aes.AesMultiOutput(proj_num_layer=2, proj_ln=True, nth_layer=3, precision="bf16", target_transform=targets)
    model.save_pretrained(tmp_path / "wëights")
    return tmp_path / "wëights"


@needs_package
def test_scores_equal_those_of_the_package(weights: Path, on_hub: Any) -> None:
    files = {name: (weights / name).read_bytes() for name in ("config.json", "model.safetensors")}
    on_hub.add(REPO, files)
    beside = load_companions(["audiobox"], device="cpu")
    assert beside.scales == {"audiobox": (1.0, 10.0)}
    assert "CC-BY 4.0" in beside.licences[0]
    (companion,) = beside.companions
    # Five windows, so two passes; the last window is short.
    samples = np.random.default_rng(0).normal(0, 0.1, 24_000 * 41 + 777).astype(np.float32)
    found = companion.score(samples)
    assert found == pytest.approx(package_scores(weights, samples), abs=1e-5)
    assert list(found) == ["CE", "CU", "PC", "PQ"]
    local = load_companions([f"audiobox={weights}"], device="cpu").companions[0]
    assert (local.score(samples), local.identity) == (found, companion.identity)


def package_scores(weights: Path, samples: np.ndarray) -> dict[str, float]:
    """The scores of the package's own predictor."""
    from audiobox_aesthetics.infer import AesPredictor
    from audiobox_aesthetics.model.aes import AesMultiOutput, Normalize

    predictor = AesPredictor.__new__(AesPredictor)  # it finds only the published weights itself
    predictor.device, predictor.data_col, predictor.sample_rate = torch.device("cpu"), "path", 16_000
    predictor.model = AesMultiOutput.from_pretrained(weights, strict=True).eval()
    targets = json.loads((weights / "config.json").read_text())["target_transform"]
    predictor.target_transform = {axis: Normalize(**values) for axis, values in targets.items()}
    return predictor.forward([{"path": torch.from_numpy(samples)[None], "sample_rate": 24_000}])[0]


@needs_package
def test_missing_and_other_weights_are_one_line(
    weights: Path, on_hub: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(HubError, match=r"^--beside audiobox: .*hub has no such model.*\(--beside audiobox=FOLDER\)$"):
        load_companions(["audiobox"])
    with pytest.raises(ScoringError, match=r"has no config.json; expected a folder with config.json and model"):
        load_companions([f"audiobox={tmp_path}"])
    before = load_companions([f"audiobox={weights}"]).identity
    tensors = load_file(weights / "model.safetensors")
    name = next(iter(tensors))
    save_file({**tensors, name: tensors[name] + 1}, weights / "model.safetensors")
    assert load_companions([f"audiobox={weights}"]).identity != before
    del tensors[name]
    save_file(tensors, weights / "model.safetensors")
    with pytest.raises(ScoringError, match=r"model.safetensors: does not fit Audiobox Aesthetics' model"):
        load_companions([f"audiobox={weights}"])


def test_a_missing_package_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "audiobox_aesthetics.model.aes", None)
    with pytest.raises(ScoringError, match=r"needs the package .* pip install 'hear-music\[audiobox\]'$"):
        load_companions(["audiobox"])
