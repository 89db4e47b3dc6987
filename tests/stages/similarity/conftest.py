"""Small stores of random songs."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from store import EmbeddingStore, Spec, StoreWriter

STREAMS = ("musicfm/track", "muq/track")


@pytest.fixture(scope="session")
def write_store() -> Callable[..., EmbeddingStore]:
    """A function that writes songs, (song, view) → their mean (stream, channel), as three frames around it."""

    def write(
        folder: Path, songs: dict[tuple[str, int], NDArray[np.float64]], *, encoder: str = "sha256:a"
    ) -> EmbeddingStore:
        channels = next(iter(songs.values())).shape[1]
        spec = Spec(streams=STREAMS, channels=channels, encoders={"muq": encoder}, layers=(10,), dtype="float32")
        writer = StoreWriter.open(folder, spec)
        for (song, view), mean in songs.items():
            frames = np.stack([mean - 1, mean, mean + 1], axis=1).astype(np.float32)
            writer.write(song, view, frames, attributes={})
        return EmbeddingStore.open(folder)

    return write
