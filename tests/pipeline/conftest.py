"""Songs that tests extract: short, seeded, with one augmented view each."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from stages.extract.config import ExtractConfig
from stages.songs import Song, write_manifest

RATE = 24_000


@pytest.fixture(scope="session")
def config() -> ExtractConfig:
    """The tiny encoders at layer 2, the smallest complete pipeline."""
    return ExtractConfig(preset="tiny", muq="", musicfm="", layers=(2,), seed=3)


@pytest.fixture(scope="session")
def make_songs() -> Callable[..., Path]:
    """A function that writes `count` songs of `seconds` and their manifest into a folder; returns the manifest."""

    def make(folder: Path, *, count: int = 3, seconds: float = 2.0, split: str = "train") -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        songs = []
        for number in range(count):
            noise = np.random.default_rng(number).standard_normal((int(seconds * RATE), 2)) * 0.1
            path = folder / f"söng {number}.wav"
            soundfile.write(path, noise, RATE)
            songs.append(Song(path.stem, path, split, "", {}, {}))
        manifest = folder / "manifest.csv"
        write_manifest(manifest, songs)
        return manifest

    return make


@pytest.fixture(scope="session")
def record_bytes() -> Callable[[Path], dict[str, bytes]]:
    """A function that reads every record file of a store by its path; files derived from records are left out."""

    def read(store: Path) -> dict[str, bytes]:
        files = (file for file in sorted((store / "records").rglob("*")) if file.is_file())
        return {str(file.relative_to(store)): file.read_bytes() for file in files}

    return read
