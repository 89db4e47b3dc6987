"""Untrusted files of encoders: any hostile setting or tensor is loaded or refused in one line."""

import copy
import json
import os
import resource
import shutil
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from stages.extract.encoders import EncoderError, load_multiscale
from stages.extract.encoders.weights.architecture import published_shapes

PARITY = Path(__file__).parents[3] / "parity"
FILES = {"muq": ("config.json", "model.safetensors"), "musicfm": ("msd_stats.json", "pretrained_msd.pt")}
DEEP: Any = json.loads("[" * 500 + "]" * 500)
VALUES = (None, True, 0, -1, 2, 3, 0.5, 1e308, 2**62, 10**400, "", "4", [], {}, [4], DEEP)


def load(name: str, folder: Path) -> None:
    streams = (f"{name}/track",)
    load_multiscale(layers=(1,), device="cpu", precision="fp32", streams=streams, **{name: folder})  # type: ignore[arg-type]


def refusal(name: str, folder: Path) -> str:
    with pytest.raises(EncoderError, match=name) as raised:
        load(name, folder)
    assert "\n" not in str(raised.value)
    return str(raised.value)


@pytest.fixture(params=["muq", "musicfm"])
def weights(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Path]:
    """An encoder's name, and a copy of its small published files."""
    return request.param, Path(shutil.copytree(PARITY / request.param, tmp_path / request.param))


def test_settings(weights: tuple[str, Path]) -> None:
    name, folder = weights
    path = folder / FILES[name][0]
    whole = json.loads(path.read_text())
    statistics, fine = ("melspec_2048_mean", "melspec_2048_std"), {"melspec_2048_mean": (-1, 0, 2, 3, 0.5)}
    fine |= {"melspec_2048_std": (2, 3, 0.5), "num_attention_heads": (2,)}
    for place in (*statistics, *(("num_attention_heads", "stat", "w2v2_config") if name == "muq" else ())):
        for value in VALUES:
            if type(value) is not bool and value in fine.get(place, ()):
                continue
            changed = copy.deepcopy(whole)
            inner = "stat" if place in statistics else "w2v2_config" if place == "num_attention_heads" else ""
            (changed[inner] if inner and name == "muq" else changed)[place] = value
            path.write_text(json.dumps(changed))
            refusal(name, folder)


def test_sizes_in_a_configuration_are_ignored(tmp_path: Path) -> None:
    """From these settings the `muq` package would build terabytes of layers or read other files."""
    folder = Path(shutil.copytree(PARITY / "muq", tmp_path / "muq"))
    config = json.loads((folder / "config.json").read_text())
    config |= {"encoder_dim": 2**40, "encoder_depth": 10**9, "codebook_size": 2**60, "conv_dim": 2**50, "n_mels": -1}
    config |= {"use_rvq_target": True, "rvq_ckpt_path": "/dev/zero", "use_encodec_target": True, "features": ["x"] * 99}
    config["w2v2_config"] |= {"hidden_size": 2**50, "num_hidden_layers": 10**9, "intermediate_size": 2**60}
    (folder / "config.json").write_text(json.dumps(config))
    load("muq", folder)


TEXTS = (
    b"[" * 200_000,
    b'{"a":' * 200_000,
    b'{"stat": ' + b"9" * 5_000 + b"}",
    b'{"stat": NaN}',
    b"null",
    b"\xff",
    b"",
)


@pytest.mark.parametrize("text", TEXTS, ids=range(len(TEXTS)))
def test_json_that_cannot_be_read(weights: tuple[str, Path], text: bytes) -> None:
    name, folder = weights
    (folder / FILES[name][0]).write_bytes(text)
    assert FILES[name][0] in refusal(name, folder)


def change(name: str, folder: Path, tensors: dict[str, torch.Tensor]) -> None:
    if name == "muq":
        save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, folder / "model.safetensors")
    else:
        torch.save({"state_dict": tensors}, folder / "pretrained_msd.pt")


BAD: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "NaN": lambda tensor: torch.full_like(tensor, torch.nan),
    "infinity": lambda tensor: torch.full_like(tensor, torch.inf),
    "0-d": lambda tensor: torch.zeros(()),
    "empty": lambda tensor: torch.zeros(0, *tensor.shape),
    "axes": lambda tensor: tensor[None],
    "one": lambda tensor: torch.zeros([1] * tensor.ndim) if tensor.numel() > 1 else tensor[None],
    "twice": lambda tensor: torch.cat([tensor, tensor]),
    "bool": lambda tensor: tensor > 0,
    "int64": lambda tensor: tensor.long(),
    "complex": lambda tensor: tensor.to(torch.complex64),
    "float8": lambda tensor: tensor.to(torch.float8_e4m3fn),
}
USED = {
    "muq": ("conv.linear.weight", "conv.conv.0.bn1.weight", "conformer.layers.0.self_attn.linear_q.weight"),
    "musicfm": ("conv.conv.0.conv1.weight", "conv.linear.bias", "conformer.layers.0.conv_module.depthwise_conv.weight"),
}


def test_tensors(weights: tuple[str, Path]) -> None:
    name, folder = weights
    path = folder / FILES[name][1]
    whole = load_file(path) if name == "muq" else torch.load(path, weights_only=True)["state_dict"]
    whole = {key: value.clone() for key, value in whole.items()}
    for tensor in USED[name]:
        for make in BAD.values():
            change(name, folder, {**whole, f"model.{tensor}": make(whole[f"model.{tensor}"])})
            refusal(name, folder)


def test_negative_variances_and_an_even_kernel(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(PARITY / "muq", tmp_path / "muq"))
    whole = {key: value.clone() for key, value in load_file(folder / "model.safetensors").items()}
    change(
        "muq",
        folder,
        {**whole, "model.conv.conv.0.bn1.running_var": -torch.ones(len(whole["model.conv.conv.0.bn1.bias"]))},
    )
    assert "the weights hold NaN or infinity" in refusal("muq", folder)
    even = {key: value[..., 1:] for key, value in whole.items() if key.endswith("conv_module.depthwise_conv.weight")}
    change("muq", folder, {**whole, **even})
    assert "expected an odd depthwise kernel" in refusal("muq", folder)


def test_small_tensors_do_not_become_large_ones(tmp_path: Path) -> None:
    """The product of a row and a column would take 40 GB."""
    folder = Path(shutil.copytree(PARITY / "musicfm", tmp_path / "musicfm"))
    whole = torch.load(folder / "pretrained_msd.pt", weights_only=True)["state_dict"]
    row, column = torch.zeros(1, 100_000, 1, 1), torch.zeros(100_000)
    hostile = {"model.conv.conv.0.conv1.weight": row, "model.conv.conv.0.bn1.weight": column}
    change("musicfm", folder, {**whole, **hostile})
    assert "tensor model.conv.conv.0.conv1.weight should be" in refusal("musicfm", folder)
    layers = {f"model.conformer.layers.x{number}.a": torch.zeros(1) for number in range(1_100)}
    change("musicfm", folder, {**whole, **layers})
    assert "expected at most 1000 layers" in refusal("musicfm", folder)


@pytest.mark.parametrize(("width", "flat", "told"), [(2, 320_000, "conv1.weight"), (30_000, 32, "conv1.weight")])
def test_sizes_in_one_tensor_allocate_no_memory(tmp_path: Path, width: int, flat: int, told: str) -> None:
    """A file of 3 MB with sizes that would need gigabytes in a single tensor."""
    folder = Path(shutil.copytree(PARITY / "musicfm", tmp_path / "musicfm"))
    whole = torch.load(folder / "pretrained_msd.pt", weights_only=True)["state_dict"]
    hostile = {
        "model.conv.linear.weight": torch.zeros(width, flat, dtype=torch.float16),
        "model.conv.linear.bias": torch.zeros(width),
        "model.conformer.embed_positions.inv_freq": torch.zeros(width // 2),
    }
    change("musicfm", folder, {**whole, **hostile})
    mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (mapped + (2 << 30), before[1]))
    try:
        assert told in refusal("musicfm", folder)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)
    change("musicfm", folder, {**whole, **hostile, "model.conv.linear.weight": torch.zeros(2, 32 * 70_000)})
    assert "expected sizes of at most 65536, found width 2, stem 70000" in refusal("musicfm", folder)


def test_shapes_are_those_of_the_packages() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from muq.muq.modules.conv import Conv2dSubsampling
        from transformers import Wav2Vec2ConformerConfig
        from transformers.models.wav2vec2_conformer.modeling_wav2vec2_conformer import Wav2Vec2ConformerEncoder

        config = Wav2Vec2ConformerConfig(
            hidden_size=64,
            num_hidden_layers=2,
            intermediate_size=48,
            conv_depthwise_kernel_size=7,
            num_attention_heads=4,
            position_embeddings_type="rotary",
        )
        with torch.device("meta"):
            stem, conformer = Conv2dSubsampling(1, 8, 64, strides=[2, 2], n_bands=32), Wav2Vec2ConformerEncoder(config)
    states = {f"model.conv.{name}": tensor for name, tensor in stem.state_dict().items()}
    states |= {f"model.conformer.{name}": tensor for name, tensor in conformer.state_dict().items()}
    unused = ("num_batches_tracked", "inv_freq")
    needed = {name: tuple(tensor.shape) for name, tensor in states.items() if not name.endswith(unused)}
    found = published_shapes(mels=32, channels=8, width=64, inner=48, kernel=7, layers=2)
    # The position convolution of the pretraining is not used.
    assert found == {name: shape for name, shape in needed.items() if "pos_conv_embed" not in name}


def test_untrained_encoders_need_no_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "muq", None)
    monkeypatch.setitem(sys.modules, "transformers", None)
    assert load_multiscale(preset="tiny", device="cpu").streams


@pytest.mark.parametrize("kind", ["FIFO", "device", "folder"])
@pytest.mark.parametrize("number", [0, 1])
def test_irregular_files_in_place_of_weights(weights: tuple[str, Path], number: int, kind: str) -> None:
    name, folder = weights
    path = folder / FILES[name][number]
    path.unlink()
    make = {"FIFO": os.mkfifo, "folder": Path.mkdir, "device": lambda path: path.symlink_to("/dev/zero")}[kind]
    make(path)  # type: ignore[operator]
    assert "a regular file, found" in (told := refusal(name, folder)) or "Is a directory" in told


def test_valid_files_encode(weights: tuple[str, Path]) -> None:
    name, folder = weights
    encoders = load_multiscale(
        layers=(1,),
        device="cpu",
        precision="fp32",
        streams=(f"{name}/track",),
        **{name: folder},  # type: ignore[arg-type]
    )
    noise = np.random.default_rng(0).standard_normal(24_000).astype(np.float32)
    assert np.isfinite(encoders.encode(noise)).all()
