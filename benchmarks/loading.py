"""Training from a generated store without a cache in memory: the share of time that steps wait for data."""

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
    """Keeps the row of every step."""

    def __init__(self) -> None:
        self.rows: list[StepRow] = []

    def step(self, row: StepRow) -> None:
        """Keep a row."""
        self.rows.append(row)


def measure_loading(folder: Path, *, songs: int, frames: int, device: str) -> None:
    """Time two epochs of the small head over all songs, then one of the paper's head over a few batches.

    Parameters
    ----------
    folder
        Folder for the store and the runs.
    songs, frames
        Number of songs in the store, and mean number of frames of each; lengths vary by up to a fifth.
    device
        Device of the heads.
    """
    store = generate_store(folder / "store", songs, frames)
    # C-Mixup partners are read, too: a batch of 8 reads 16 records.
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
    """Print the waiting times with and without the first step, which always waits for the first batch."""
    parts = (("all steps", rows), ("after the first", rows[1:]))
    for name, chosen in parts if len(rows) > 1 else parts[:1]:
        seconds, waited = sum(row.seconds for row in chosen), sum(row.seconds * row.waiting for row in chosen)
        print(
            f"loading: {size} head, {songs} songs, {workers} workers, {name}: waited {waited:.2f} s "
            f"of {seconds:.1f} s, {100 * waited / seconds:.1f} %, load {os.getloadavg()[0]:.1f}",
            flush=True,
        )


def generate_store(root: Path, songs: int, frames: int) -> Path:
    """Write a store of noise with the published sizes, in float16."""
    generator = np.random.default_rng(0)
    noise = generator.standard_normal((len(STREAMS), 2 * frames, CHANNELS), np.float32).astype(np.float16)
    writer = StoreWriter.open(root, Spec(streams=STREAMS, channels=CHANNELS, encoders={}, layers=(10,)))
    for number in range(songs + VALIDATION):
        length, start = int(frames * generator.uniform(0.8, 1.2)), int(generator.integers(frames // 2))
        writer.write(f"song {number}", 0, noise[:, start : start + length], attributes={})
    return root


def write_songs(path: Path, songs: int) -> Path:
    """Write a manifest: the first `songs` songs train, the next few validate; ratings are random."""
    generator = np.random.default_rng(1)
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["song_id", "path", "split", "system", *DIMENSIONS])
        for number in range(songs + VALIDATION):
            labels = (generator.integers(4, 21, len(DIMENSIONS)) / 4).tolist()
            rows.writerow([f"song {number}", f"{number}.mp3", "train" if number < songs else "val", "", *labels])
    return path
