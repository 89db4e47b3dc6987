"""The published weights' names → our encoder: batch norms folded, convolutions merged, the final ½ taken in.

MuQ's and MusicFM's files name the same architecture alike; only what HEAR never uses differs.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, nn

from stages.extract.encoders.conformer import Conformer
from stages.extract.encoders.errors import EncoderError, one_line
from stages.extract.encoders.stem import Stem
from stages.provenance import Provenance

STEM = "model.conv."
LAYER = "model.conformer.layers."
M = TypeVar("M", bound=nn.Module)


@dataclass(frozen=True, kw_only=True)
class Published:
    """Weights under their published names, and what the names do not say.

    `origin` is where they came from, for messages, and `provenance` for stores and heads (None: nobody can get them
    again); `mean` and `std` normalise the mel spectrogram (dB).
    """

    origin: str
    tensors: Mapping[str, Tensor]
    mean: float
    std: float
    heads: int | None = None
    provenance: Provenance | None = None

    def __getitem__(self, name: str) -> Tensor:
        try:
            return self.tensors[name].detach().float()
        except KeyError:
            raise EncoderError(
                f"{self.origin}: no tensor {name}, which the encoder needs; the file is incomplete or of another model"
            ) from None

    @property
    def depth(self) -> int:
        """How many conformer layers there are."""
        numbers = {name[len(LAYER) :].split(".")[0] for name in self.tensors if name.startswith(LAYER)}
        return len(numbers)

    def head_count(self) -> int:
        """Attention heads: as the config says, else from the rotary frequencies (one a pair of channels of a head)."""
        if self.heads is not None:
            return self.heads
        return self["model.conv.linear.weight"].shape[0] // (
            2 * self["model.conformer.embed_positions.inv_freq"].numel()
        )

    def digest(self) -> str:
        """Return "sha256:…" over everything that an embedding can depend on, whatever file it lay in."""
        used = sorted(name for name in self.tensors if _is_used(name))
        total = hashlib.sha256(json.dumps([self.mean, self.std, self.head_count()]).encode())
        for name in used:
            tensor = self[name].contiguous()
            total.update(f"{name}{tuple(tensor.shape)}".encode())
            total.update(tensor.cpu().numpy().data)
        return f"sha256:{total.hexdigest()}"


def _is_used(name: str) -> bool:
    return name.startswith((STEM, LAYER, "model.conformer.layer_norm.")) and not name.endswith("num_batches_tracked")


def build_stem(published: Published, mels: int) -> Stem:
    """Build the stem; sizes are read off the tensors."""
    linear, width = published[f"{STEM}linear.weight"], published[f"{STEM}linear.bias"].numel()
    channels = linear.shape[1] // (mels // 4)
    state = {"linear.bias": published[f"{STEM}linear.bias"]}
    # Published: channel-major; ours: mel-major, as a channels-last image lies in memory.
    state["linear.weight"] = linear.view(width, channels, mels // 4).transpose(1, 2).reshape(width, -1)
    for block in (0, 1):
        name = f"{STEM}conv.{block}."
        folded = [_folded_convolution(published, name, part) for part in (1, 3, 2)]
        state[f"blocks.{block}.entry.weight"] = torch.cat([folded[0][0], folded[1][0]])
        state[f"blocks.{block}.entry.bias"] = torch.cat([folded[0][1], folded[1][1]])
        state[f"blocks.{block}.body.weight"], state[f"blocks.{block}.body.bias"] = folded[2]
    with torch.device("meta"):
        stem = Stem(channels=channels, mels=mels, width=width)
    return _filled(stem, state, published.origin)


def build_conformer(published: Published, depth: int) -> Conformer:
    """Build the first `depth` layers; sizes are read off the tensors."""
    width = published[f"{STEM}linear.weight"].shape[0]
    first = published[f"{LAYER}0.ffn1.intermediate_dense.weight"] if depth else torch.empty(0, width)
    kernel = published[f"{LAYER}0.conv_module.depthwise_conv.weight"].shape[-1] if depth else 1
    state: dict[str, Tensor] = {}
    for layer in range(depth):
        ours = _layer(published, f"{LAYER}{layer}.")
        state |= {f"layers.{layer}.{name}": tensor for name, tensor in ours.items()}
    last_norm = 0 < depth == published.depth
    if last_norm:
        state |= _pair(published, "model.conformer.layer_norm", "last_norm")
    with torch.device("meta"):
        conformer = Conformer(
            depth=depth, width=width, heads=published.head_count(), inner=first.shape[0], kernel=kernel,
            last_norm=last_norm,
        )  # fmt: skip
    return _filled(conformer, state, published.origin)


def _layer(published: Published, name: str) -> dict[str, Tensor]:
    state: dict[str, Tensor] = {}
    for theirs, ours in (("ffn1", "before"), ("ffn2", "after")):
        state |= _pair(published, f"{name}{theirs}_layer_norm", f"{ours}.norm")
        state |= _pair(published, f"{name}{theirs}.intermediate_dense", f"{ours}.expand")
        halved = _pair(published, f"{name}{theirs}.output_dense", f"{ours}.contract")
        state |= {key: tensor * 0.5 for key, tensor in halved.items()}
    state |= _pair(published, f"{name}self_attn_layer_norm", "attention.norm")
    for kind in ("weight", "bias"):
        both = [published[f"{name}self_attn.linear_{part}.{kind}"] for part in "qk"]
        state[f"attention.query_key.{kind}"] = torch.cat(both)
    state |= _pair(published, f"{name}self_attn.linear_v", "attention.value")
    state |= _pair(published, f"{name}self_attn.linear_out", "attention.out")
    state |= _pair(published, f"{name}conv_module.layer_norm", "convolution.norm")
    for theirs, ours in (("pointwise_conv1", "expand"), ("pointwise_conv2", "contract")):
        state[f"convolution.{ours}.weight"] = published[f"{name}conv_module.{theirs}.weight"].squeeze(-1)
    scale, shift = _batch_norm(published, f"{name}conv_module.batch_norm")
    depthwise = published[f"{name}conv_module.depthwise_conv.weight"]  # (C, 1, kernel)
    state["convolution.depthwise.weight"] = (depthwise * scale[:, None, None]).unsqueeze(2)
    state["convolution.depthwise.bias"] = shift
    return state | _pair(published, f"{name}final_layer_norm", "norm")


def _pair(published: Published, theirs: str, ours: str) -> dict[str, Tensor]:
    return {f"{ours}.{kind}": published[f"{theirs}.{kind}"] for kind in ("weight", "bias")}


def _batch_norm(published: Published, name: str) -> tuple[Tensor, Tensor]:
    """Return the scale and shift that a batch norm in evaluation amounts to (eps is torch's default)."""
    scale = published[f"{name}.weight"] / (published[f"{name}.running_var"] + 1e-5).sqrt()
    return scale, published[f"{name}.bias"] - published[f"{name}.running_mean"] * scale


def _folded_convolution(published: Published, name: str, part: int) -> tuple[Tensor, Tensor]:
    scale, shift = _batch_norm(published, f"{name}bn{part}")
    weight, bias = published[f"{name}conv{part}.weight"], published[f"{name}conv{part}.bias"]
    return weight * scale[:, None, None, None], bias * scale + shift


def _filled(module: M, state: dict[str, Tensor], origin: str) -> M:
    try:
        module.load_state_dict(state, assign=True)
    except RuntimeError as error:
        raise EncoderError(f"{origin}: tensors do not fit each other: {one_line(error)}") from error
    return module.eval().requires_grad_(False)
