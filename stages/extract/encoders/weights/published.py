"""Published weights → our encoder: batch norms are folded, convolutions merged, the final ½ is folded into weights.

MuQ's and MusicFM's files use the same names for all tensors that HEAR needs.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from stages.common.file_limits import LARGEST_WEIGHTS, TensorsError
from stages.common.messages import one_line
from stages.common.provenance import Provenance
from stages.common.tensors import FLOATS, read_tensors
from stages.extract.encoders.errors import EncoderError
from stages.extract.encoders.layers.conformer import Conformer
from stages.extract.encoders.layers.stem import Stem
from stages.extract.encoders.weights.architecture import LAYER, NORM, STEM, published_shapes
from store.errors import StoreError
from store.files.json_text import LARGEST, JsonError, brief, parse_json
from store.files.regular import read_regular

DEPTHWISE = f"{LAYER}0.conv_module.depthwise_conv.weight"
# Mean and std of mel spectrograms are a few decibels.
LARGEST_LEVEL = 1e6
# Larger sizes are a mistake or an attack on memory. The published encoders are at most 4,096 wide.
MOST_LAYERS, LARGEST_SIZE = 1_000, 1 << 16
M = TypeVar("M", bound=nn.Module)


@dataclass(frozen=True, kw_only=True)
class Published:
    """Weights under their published names, and the settings beside them.

    `origin` is their source for messages, `provenance` for stores and heads (None if they cannot be loaded again);
    `mean` and `std` normalise the mel spectrogram (dB).
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

    def shape(self, name: str, *, axes: int) -> tuple[int, ...]:
        """The shape of a tensor from which sizes are read: it must have this many axes, none of them empty."""
        found = tuple(self[name].shape)
        if len(found) != axes or 0 in found:
            raise EncoderError(f"{self.origin}: tensor {name} should have {axes} axes, found shape {found}")
        return found

    @property
    def depth(self) -> int:
        """Number of conformer layers."""
        numbers = {name[len(LAYER) :].split(".")[0] for name in self.tensors if name.startswith(LAYER)}
        return len(numbers)

    def head_count(self) -> int:
        """Attention heads, from the config or else from the rotary frequencies (one per two channels of a head)."""
        if self.heads is not None:
            return self.heads
        frequencies = self["model.conformer.embed_positions.inv_freq"].numel()
        return self[f"{STEM}linear.bias"].numel() // max(1, 2 * frequencies)

    def digest(self) -> str:
        """Return "sha256:…" over everything that an embedding depends on, independent of the file format."""
        used = sorted(name for name in self.tensors if _is_used(name))
        total = hashlib.sha256(json.dumps([self.mean, self.std, self.head_count()]).encode())
        for name in used:
            tensor = self[name].contiguous()
            total.update(f"{name}{tuple(tensor.shape)}".encode())
            total.update(tensor.cpu().numpy().data)
        return f"sha256:{total.hexdigest()}"


def _is_used(name: str) -> bool:
    return name.startswith((STEM, LAYER, f"{NORM}.")) and not name.endswith("num_batches_tracked")


def read_settings(path: Path, what: str) -> dict[str, Any]:
    """Read a JSON object from a file beside weights.

    Raises
    ------
    EncoderError
        The file cannot be read, or is not an object.
    """
    try:
        values = parse_json(read_regular(path, largest=LARGEST))
    except (OSError, StoreError, JsonError) as error:
        raise EncoderError(f"{path}: cannot be read as JSON: {error}") from error
    if not isinstance(values, dict):
        raise EncoderError(f"{path}: expected {what}, an object, found {type(values).__name__}")
    return values


def finite(value: object) -> float:
    """Check a number from such an object. Raises TypeError for other types, and ValueError for an absurd number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"expected a number, found {type(value).__name__}")
    if not abs(value) <= LARGEST_LEVEL:
        raise ValueError("expected a level in dB")
    return float(value)


def read_weights(path: Path, *, within: str = "") -> dict[str, Tensor]:
    """Read an encoder's tensors with `read_tensors`.

    Raises
    ------
    EncoderError
        The tensors cannot be read, or not without running code.
    """
    try:
        return read_tensors(path, largest=LARGEST_WEIGHTS, integers=True, within=within, mapped=True)
    except TensorsError as error:
        raise EncoderError(str(error)) from error


def check_published(published: Published, mels: int) -> None:
    """Check shapes, types and statistics before the encoder is built. Missing tensors are reported when it is built.

    Raises
    ------
    EncoderError
        A tensor has a wrong shape or type, or the number of layers or heads or the statistics are impossible.
    """
    if published.depth > MOST_LAYERS:
        raise EncoderError(f"{published.origin}: expected at most {MOST_LAYERS} layers, found {published.depth}")
    for name, shape in _shapes(published, mels).items():
        tensor = published.tensors.get(name)
        if tensor is not None and tuple(tensor.shape) != shape:
            raise EncoderError(f"{published.origin}: tensor {name} should be {shape}, found {tuple(tensor.shape)}")
    for name, tensor in published.tensors.items():
        if _is_used(name) and tensor.dtype not in FLOATS:
            raise EncoderError(f"{published.origin}: tensor {brief(name)} should hold floats, found {tensor.dtype}")
    if not published.std > 0:
        raise EncoderError(f"{published.origin}: the std of its spectrograms should be above 0, found {published.std}")


def _shapes(published: Published, mels: int) -> dict[str, tuple[int, ...]]:
    """The expected shape of each tensor that an encoder needs; sizes are read from some of the tensors."""
    width, flat = published.shape(f"{STEM}linear.weight", axes=2)
    heads, channels = published.head_count(), flat // (mels // 4)
    if not 1 <= heads <= width or width % (2 * heads):
        raise EncoderError(f"{published.origin}: {brief(heads)} attention heads cannot share a width of {width}")
    if not channels:
        raise EncoderError(f"{published.origin}: expected a projection of {mels // 4} inputs or more, found {flat}")
    inner, _ = published.shape(f"{LAYER}0.ffn1.intermediate_dense.weight", axes=2) if published.depth else (1, width)
    *_, kernel = published.shape(DEPTHWISE, axes=3) if published.depth else (1,)
    if max(width, channels, inner, kernel) > LARGEST_SIZE:
        sizes = f"width {width}, stem {channels}, feed-forward part {inner}, kernel {kernel}"
        raise EncoderError(f"{published.origin}: expected sizes of at most {LARGEST_SIZE}, found {sizes}")
    if not kernel % 2:
        raise EncoderError(f"{published.origin}: expected an odd depthwise kernel, found {kernel}")
    found = {"channels": channels, "width": width, "inner": inner, "kernel": kernel, "layers": published.depth}
    return published_shapes(mels=mels, **found)


def build_stem(published: Published, mels: int) -> Stem:
    """Build the stem, with sizes from the tensors."""
    linear, width = published[f"{STEM}linear.weight"], published[f"{STEM}linear.bias"].numel()
    channels = linear.shape[1] // (mels // 4)
    state = {"linear.bias": published[f"{STEM}linear.bias"]}
    # Published: channel-major; ours: mel-major, the memory order of a channels-last image.
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
    """Build the first `depth` layers, with sizes from the tensors."""
    width = published[f"{STEM}linear.weight"].shape[0]
    first = published[f"{LAYER}0.ffn1.intermediate_dense.weight"] if depth else torch.empty(0, width)
    kernel = published[f"{LAYER}0.conv_module.depthwise_conv.weight"].shape[-1] if depth else 1
    state: dict[str, Tensor] = {}
    for layer in range(depth):
        ours = _layer(published, f"{LAYER}{layer}.")
        state |= {f"layers.{layer}.{name}": tensor for name, tensor in ours.items()}
    last_norm = 0 < depth == published.depth
    if last_norm:
        state |= _pair(published, NORM, "last_norm")
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
    """Return the scale and shift of a batch norm in evaluation mode (eps is torch's default)."""
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
    for name, tensor in state.items():
        if not bool(tensor.isfinite().all()):
            raise EncoderError(f"{origin}: the weights hold NaN or infinity: {name}")
    return module.eval().requires_grad_(False)
