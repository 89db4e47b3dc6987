"""Training from a generated store, with nothing held in memory: the share of time that steps wait for data."""

import csv
import os
from pathlib import Path

import numpy as np

from stages.head.config import TrainConfig
from stages.head.training.history import Listener, StepRow
from stages.head.training.train import train_head
from stages.songs import DIMENSIONS, read_manifest
from store import Spec, StoreWriter

STREAMS = ("musicfm/segment", "muq/segment", "musicfm/track", "muq/track")
CHANNELS = 1024
VALIDATION = 2


class Steps(Listener):
    """Keeps every step's row."""

    def __init__(self) -> None:
        self.rows: list[StepRow] = []

    def step(self, row: StepRow) -> None:
        """Keep it."""
        self.rows.append(row)


def measure_loading(folder: Path, *, songs: int, frames: int, device: str) -> None:
    """Two epochs of the small head over all songs, then one of the paper's over a few batches of them.

    Parameters
    ----------
    folder
        Where the store and the runs go.
    songs, frames
        Songs of the store, and frames of each, on average; lengths differ by up to a fifth.
    device
        Where the heads run.
    """
    store = generate_store(folder / "store", songs, frames)
    # Pairs are read too, so a batch of 8 reads 16 records.
    for size, count, epochs in (("small", songs, 2), ("paper", min(songs, 24), 1)):
        steps = Steps()
        manifest = write_songs(folder / f"{size}.csv", count)
        config = TrainConfig(size=size, epochs=epochs, accumulate=1, memory=0.0, device=device)
        train_head(
            store=store,
            manifest=read_manifest(manifest, check_files=False),
            track=2,
            out=folder / size,
            config=config,
            listeners=[steps],
        )
        _report(size, count, steps.rows, config.workers)


def _report(size: str, songs: int, rows: list[StepRow], workers: int) -> None:
    """The first step waits for the first batch; what comes after it is an epoch's steady state."""
    for name, chosen in (("all steps", rows), ("after the first", rows[1:])):
        seconds, waited = sum(row.seconds for row in chosen), sum(row.seconds * row.waiting for row in chosen)
        print(
            f"loading: {size} head, {songs} songs, {workers} workers, {name}: waited {waited:.2f} s "
            f"of {seconds:.1f} s, {100 * waited / seconds:.1f} %, load {os.getloadavg()[0]:.1f}",
            flush=True,
        )


def generate_store(root: Path, songs: int, frames: int) -> Path:
    """A store of songs of noise, float16, with the published sizes."""
    generator = np.random.default_rng(0)
    noise = generator.standard_normal((len(STREAMS), 2 * frames, CHANNELS), np.float32).astype(np.float16)
    writer = StoreWriter.open(root, Spec(streams=STREAMS, channels=CHANNELS, encoders={}, layers=(10,)))
    for number in range(songs + VALIDATION):
        length, start = int(frames * generator.uniform(0.8, 1.2)), int(generator.integers(frames // 2))
        writer.write(f"song {number}", 0, noise[:, start : start + length], attributes={})
    return root


def write_songs(path: Path, songs: int) -> Path:
    """The first `songs` songs train, the next few validate; labels are drawn."""
    generator = np.random.default_rng(1)
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["song_id", "path", "split", "system", *DIMENSIONS])
        for number in range(songs + VALIDATION):
            labels = (generator.integers(4, 21, len(DIMENSIONS)) / 4).tolist()
            rows.writerow([f"song {number}", f"{number}.mp3", "train" if number < songs else "val", "", *labels])
    return path
