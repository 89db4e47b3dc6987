"""A store for training: ratings are the levels of a few channels."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from stages.head.config import TrainConfig
from stages.songs import DIMENSIONS, Manifest, Song
from store import Spec, StoreWriter

STREAMS = ("musicfm/track", "muq/track")
CHANNELS = 8


class Learnable(NamedTuple):
    """A store and the manifest of its songs."""

    store: str
    manifest: Manifest


@pytest.fixture(scope="session")
def make_learnable() -> Callable[..., Learnable]:
    """A function that writes songs of ragged length, two views each, into a store; a quarter are for validation."""

    def make(
        folder: Path, *, songs: int = 24, views: int = 2, dtype: str = "float16", layers: tuple[int, ...] = (10,)
    ) -> Learnable:
        generator = np.random.default_rng(0)
        ratings = np.clip(3 + generator.normal(0, 1, (songs, len(DIMENSIONS))), 1, 5).round(2)
        names = STREAMS if len(layers) == 1 else tuple(f"{name}@{layer}" for name in STREAMS for layer in layers)
        encoders = {"musicfm": "sha256:a", "muq": "sha256:b"}
        spec = Spec(streams=names, channels=CHANNELS, encoders=encoders, layers=layers, dtype=dtype)
        writer = StoreWriter.open(folder / "store.zarr", spec)
        listed = []
        for number, rated in enumerate(ratings):
            split = "val" if number % 4 == 0 else "train"
            name = f"söng {number}"
            for view in range(views if split == "train" else 1):
                frames = generator.normal(0, 1, (len(names), int(generator.integers(12, 40)), CHANNELS))
                frames[..., : len(DIMENSIONS)] += rated - 3
                writer.write(name, view, frames.astype(np.float32), attributes={"seconds": 1.0})
            labels = dict(zip(DIMENSIONS, rated.tolist(), strict=True))
            listed.append(Song(name, folder / f"{name}.wav", split, f"system {number % 3}", labels, {}))
        return Learnable(str(folder / "store.zarr"), Manifest(folder / "manifest.csv", tuple(listed)))

    return make


@pytest.fixture(scope="session")
def learnable(make_learnable: Callable[..., Learnable], tmp_path_factory: pytest.TempPathFactory) -> Learnable:
    """Eighteen training songs, six validation songs; tests must not write into it."""
    return make_learnable(tmp_path_factory.mktemp("learnable"))


@pytest.fixture
def config() -> TrainConfig:
    """A small head, three epochs on the CPU."""
    return TrainConfig(
        size="small", learning_rate=3e-3, accumulate=2, epochs=3, batch_size=4, device="cpu", precision="fp32"
    )
