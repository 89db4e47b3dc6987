"""Random weights for both encoders, the same on every machine, without a download.

`TINY` has the sizes of the `tiny` preset. Its random features are enough to show that the pipeline works from end to
end; scores made from them mean nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from stages.common.provenance import Provenance
from stages.extract.encoders.layers.mel import MELS
from stages.extract.encoders.weights.architecture import published_shapes
from stages.extract.encoders.weights.published import Published

KERNEL = 31
SEEDS = {"muq": 1, "musicfm": 2}
# As in the published encoders, to two digits: mean and std of mel spectrograms of music, in dB.
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


def untrained(name: str, sizes: Sizes = TINY) -> Published:
    """Return random weights for "muq" or "musicfm"."""
    random = np.random.Generator(np.random.PCG64(SEEDS[name]))
    shapes = published_shapes(
        mels=MELS, channels=sizes.channels, width=sizes.width, inner=sizes.inner, kernel=KERNEL, layers=sizes.layers
    )
    tensors = {key: _values(random, key, shape) for key, shape in shapes.items()}
    # Other sizes are for benchmarks and cannot be loaded by name.
    known = Provenance(kind="untrained", preset="tiny", seed=SEEDS[name]) if sizes == TINY else None
    return Published(
        origin=f"untrained {name}", tensors=tensors, mean=MEAN, std=STD, heads=sizes.heads, provenance=known
    )


@lru_cache
def tiny_hashes() -> Mapping[str, tuple[str, Provenance | None]]:
    """Weights hash and provenance of the `tiny` preset's encoders, by name. Computed in milliseconds."""
    weights = {name: untrained(name) for name in SEEDS}
    return {name: (published.digest(), published.provenance) for name, published in weights.items()}


def _values(random: np.random.Generator, key: str, shape: tuple[int, ...]) -> Tensor:
    """Draw one tensor with variance 1 / fan-in, from uniform doubles: only their bits are the same in every numpy."""
    if key.endswith("running_var") or (len(shape) == 1 and key.endswith("weight")):
        return torch.ones(shape)
    if len(shape) == 1:
        return torch.zeros(shape)
    bound = np.sqrt(3.0 / np.prod(shape[1:]))
    return torch.from_numpy(((2.0 * random.random(shape) - 1.0) * bound).astype(np.float32))
