"""Both real architectures with random weights, the same on every machine; no download.

The `tiny` preset is `TINY`: random convolutions and attention over mel spectrograms are features enough to show that
the pipeline works from end to end; the scores mean nothing. `FULL` has the published sizes, for measuring.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from stages.common.provenance import Provenance
from stages.extract.encoders.weights.published import LAYER, STEM, Published

KERNEL, MELS = 31, 128
SEEDS = {"muq": 1, "musicfm": 2}
# What the published encoders ship, to two digits: music in dB.
MEAN, STD = 6.8, 18.4


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """Conformer layers, width, heads and feed-forward width; the stem's channels."""

    layers: int
    width: int
    heads: int
    inner: int
    channels: int


TINY = Sizes(layers=12, width=64, heads=4, inner=128, channels=8)
FULL = Sizes(layers=12, width=1024, heads=16, inner=4096, channels=512)


def untrained(name: str, sizes: Sizes = TINY) -> Published:
    """Return random weights for "muq" or "musicfm"."""
    random = np.random.Generator(np.random.PCG64(SEEDS[name]))
    tensors = {key: _values(random, key, shape) for key, shape in published_shapes(sizes)}
    # Others than the preset's serve to measure; nobody loads them by name.
    known = Provenance(kind="untrained", preset="tiny", seed=SEEDS[name]) if sizes == TINY else None
    return Published(
        origin=f"untrained {name}", tensors=tensors, mean=MEAN, std=STD, heads=sizes.heads, provenance=known
    )


@lru_cache
def tiny_hashes() -> Mapping[str, tuple[str, Provenance | None]]:
    """The `tiny` preset's encoders by name: hash of the weights, and provenance. Computed, in some milliseconds."""
    weights = {name: untrained(name) for name in SEEDS}
    return {name: (published.digest(), published.provenance) for name, published in weights.items()}


def _values(random: np.random.Generator, key: str, shape: tuple[int, ...]) -> Tensor:
    """Draw one tensor; variance 1 / fan-in. Uniform doubles, since only their bits are the same in every numpy."""
    if key.endswith("running_var") or (len(shape) == 1 and key.endswith("weight")):
        return torch.ones(shape)
    if len(shape) == 1:
        return torch.zeros(shape)
    bound = np.sqrt(3.0 / np.prod(shape[1:]))
    return torch.from_numpy(((2.0 * random.random(shape) - 1.0) * bound).astype(np.float32))


def published_shapes(sizes: Sizes) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Yield every used tensor's published name and shape, in a fixed order."""
    channels, width = sizes.channels, sizes.width
    for block, channels_in in ((0, 1), (1, channels)):
        for part, inputs in ((1, channels_in), (2, channels), (3, channels_in)):
            name = f"{STEM}conv.{block}."
            yield f"{name}conv{part}.weight", (channels, inputs, 3, 3)
            yield f"{name}conv{part}.bias", (channels,)
            yield from _batch_norm(f"{name}bn{part}", channels)
    yield from _linear(f"{STEM}linear", channels * MELS // 4, width)
    for layer in range(sizes.layers):
        yield from _layer(f"{LAYER}{layer}.", width, sizes.inner)
    yield from _norm("model.conformer.layer_norm", width)


def _layer(name: str, width: int, inner: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    for part in ("ffn1", "ffn2"):
        yield from _norm(f"{name}{part}_layer_norm", width)
        yield from _linear(f"{name}{part}.intermediate_dense", width, inner)
        yield from _linear(f"{name}{part}.output_dense", inner, width)
    yield from _norm(f"{name}self_attn_layer_norm", width)
    for part in ("q", "k", "v", "out"):
        yield from _linear(f"{name}self_attn.linear_{part}", width, width)
    yield from _norm(f"{name}conv_module.layer_norm", width)
    yield f"{name}conv_module.pointwise_conv1.weight", (2 * width, width, 1)
    yield f"{name}conv_module.depthwise_conv.weight", (width, 1, KERNEL)
    yield f"{name}conv_module.pointwise_conv2.weight", (width, width, 1)
    yield from _batch_norm(f"{name}conv_module.batch_norm", width)
    yield from _norm(f"{name}final_layer_norm", width)


def _linear(name: str, inputs: int, outputs: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield f"{name}.weight", (outputs, inputs)
    yield f"{name}.bias", (outputs,)


def _norm(name: str, width: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield f"{name}.weight", (width,)
    yield f"{name}.bias", (width,)


def _batch_norm(name: str, width: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield from _norm(name, width)
    yield f"{name}.running_mean", (width,)
    yield f"{name}.running_var", (width,)
