"""Small stores with a signal planted in one stream."""

import csv
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from store import Spec, StoreWriter

FOUR = ("musicfm/segment", "muq/segment", "musicfm/track", "muq/track")
SPEC = Spec(streams=FOUR, channels=6, encoders={"muq": "sha256:0", "musicfm": "sha256:1"}, layers=(10,), pool=1)
FRAMES = 5

MakeStore = Callable[..., Path]
MakeLabels = Callable[..., Path]


def song_names(count: int) -> list[str]:
    return [f"song {number:03d}" for number in range(count)]


@pytest.fixture
def make_store(tmp_path: Path) -> MakeStore:
    """A store whose songs carry `signal` (N, n): in the means of the first n channels of one stream.

    `spread` (N,) scales the last channel over time: a signal in the standard deviation.
    """

    def make(
        signal: np.ndarray,
        *,
        stream: str = "muq/track",
        views: Sequence[int] = (0,),
        noise: float = 0.3,
        spread: Sequence[float] | None = None,
        name: str = "embeddings.zarr",
        seed: int = 0,
        spec: Spec = SPEC,
    ) -> Path:
        rng = np.random.default_rng(seed)
        signal = np.asarray(signal, dtype=float).reshape(len(signal), -1)
        writer = StoreWriter.open(tmp_path / name, spec)
        for song, values in zip(song_names(len(signal)), signal, strict=True):
            own = rng.normal(size=(len(spec.streams), 1, spec.channels))
            own[spec.streams.index(stream), 0, : len(values)] = values + noise * rng.normal(size=len(values))
            for view in views:
                frames = own + 0.1 * rng.normal(size=(len(spec.streams), FRAMES, spec.channels))
                if spread is not None:
                    frames[spec.streams.index(stream), :, -1] *= spread[int(song.split()[1])]
                about = {"seconds": FRAMES / 25, "source": "sha256:0", "drawn": {}}
                writer.write(song, view, frames.astype(np.float32), attributes=about)
        return tmp_path / name

    return make


@pytest.fixture
def make_labels(tmp_path: Path) -> MakeLabels:
    """A CSV of labels with one line per song."""

    def make(name: str = "labels.csv", **columns: Sequence[object]) -> Path:
        path = tmp_path / name
        rows = zip(song_names(len(next(iter(columns.values())))), *columns.values(), strict=True)
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["song_id", *columns])
            writer.writerows(rows)
        return path

    return make


@pytest.fixture
def spec() -> Spec:
    """The default spec of the stores."""
    return SPEC


@pytest.fixture
def other_spec() -> Spec:
    """The same spec with other weights of one encoder."""
    return replace(SPEC, encoders={"muq": "sha256:2", "musicfm": "sha256:1"})
