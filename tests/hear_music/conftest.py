"""The folder of the examples: songs, a manifest, a store and a trained head; the encoders are the tiny ones."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

import hear_music as hear
from stages.extract.config import ExtractConfig
from stages.songs import write_manifest

RATE = 24_000


@pytest.fixture(scope="session")
def work_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`embeddings.zarr` and `manifest.csv` of eight songs, `models/track2`, `song.mp3` and `other.mp3`."""
    folder = tmp_path_factory.mktemp("work")
    encoders = hear.load_multiscale(preset="tiny", layers=(2,), device="cpu", precision="fp32")
    config = ExtractConfig(preset="tiny", muq="", musicfm="", layers=(2,))
    writer = hear.StoreWriter.open(folder / "embeddings.zarr", config.spec(encoders))
    songs = []
    for number in range(8):
        name, rating = f"song {number}", 1.5 + number / 4
        ratings = dict.fromkeys(hear.DIMENSIONS, rating)
        split = "train" if number % 4 else "val"
        songs.append(hear.Song(name, folder / f"{name}.flac", split, "ab"[number % 2], ratings, {}))
        noise = np.random.default_rng(number).standard_normal(2 * RATE).astype(np.float32) * (number + 1) / 100
        soundfile.write(songs[-1].path, noise, RATE)
        writer.write(name, 0, encoders.encode(noise), attributes={"seconds": 2.0})
    write_manifest(folder / "manifest.csv", songs)
    train = hear.TrainConfig(size="small", epochs=1, device="cpu")
    hear.train(folder / "embeddings.zarr", folder / "manifest.csv", track=2, out=folder / "models/track2", config=train)
    for name in ("song.mp3", "other.mp3"):
        soundfile.write(folder / name, noise, RATE)
    return folder
