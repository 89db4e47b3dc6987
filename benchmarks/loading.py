"""Loading for training: the reader against np.load, and the share of time that steps wait for data.

With a stand-in for a GPU's step, which only sleeps, the reader is the limit: the rate at which it delivers packed
batches is compared with np.load, of the same records in .npy files, with as many threads. Then two real heads train
with nothing held in memory.
"""

import csv
import os
import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
from torch import Tensor, nn

from benchmarks.figures import Figures
from stages.common.device import choose_device
from stages.head.config import TrainConfig
from stages.head.data.epoch_plan import Item, plan_epoch
from stages.head.data.reader import Reader
from stages.head.data.records import Records
from stages.head.data.splits import Data, open_data
from stages.head.model.packed import PackedModel
from stages.head.model.sizes import ModelSizes
from stages.head.training.history import Listener, StepRow
from stages.head.training.step import Objective
from stages.head.training.train import train_head
from stages.head.training.trainer import Hooks, Trainer
from stages.metrics.agreement import METRICS
from stages.songs import DIMENSIONS, read_manifest
from store import EmbeddingStore, Spec, StoreWriter
from store.format.keys import SHARD, record_path

STREAMS = ("musicfm/segment", "muq/segment", "musicfm/track", "muq/track")
CHANNELS = 1024
VALIDATION = 2
# Seconds of a GPU's step on 16 records of 43 MB.
STEP = 0.04
RECORDS = 16
EPOCHS = 4
# The first steps wait while memory for the batches is allocated and first used, once per run.
FILLING = 2
# Largest share of the time that steps may wait for data, where the disk is fast enough; least share of np.load's rate.
MOST_WAITING, LEAST_RATE = 0.10, 0.6


class Steps(Listener):
    """Keeps the row of every step."""

    def __init__(self) -> None:
        self.rows: list[StepRow] = []

    def step(self, row: StepRow) -> None:
        """Keep a row."""
        self.rows.append(row)


class StandIn(PackedModel):
    """A head that takes as long as a GPU's, and no core; it uses a few values of each song."""

    def __init__(self, features: int) -> None:
        super().__init__(ModelSizes(features=features, classes=len(DIMENSIONS), heads=1))
        self.output = nn.Linear(features, len(DIMENSIONS))

    def pool(self, frames: Tensor, lengths: Sequence[int]) -> Tensor:
        """The first frame of each song, after a while."""
        time.sleep(STEP)
        starts = np.cumsum([0, *lengths[:-1]]) * self.sizes.stride
        return frames[starts.tolist()].float()


def measure_loading(folder: Path, *, songs: int, frames: int, device: str, repeats: int, figures: Figures) -> None:
    """Compare the reader with np.load, then time the small head over all songs and the paper's over a few batches.

    Parameters
    ----------
    folder
        Folder for the store, the .npy files and the runs.
    songs, frames
        Number of songs in the store, and mean number of frames of each; lengths vary by up to a fifth.
    device
        Device of the heads.
    repeats
        Repeats of the comparison.
    figures
        Keeps the figures.
    """
    store = generate_store(folder / "store", songs, frames)
    manifest = write_songs(folder / "all.csv", songs)
    config = TrainConfig(mix="none", batch_size=RECORDS, accumulate=1, memory=0.0, device=device, epochs=EPOCHS)
    data = open_data(str(store), read_manifest(manifest, check_files=False), track=2, config=config)
    _compare(folder / "npy", data, config, repeats, figures)
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
        later = steps.rows[1:] or steps.rows  # the first step always waits for the first batch
        print(f"loading: {size} head, {count} songs, after the first step: waited {100 * _waiting(later):.1f} %")
        figures.add(f"loading: waiting, {size} head", 100 * _waiting(steps.rows), "%", most=100 * MOST_WAITING)


def _compare(folder: Path, data: Data, config: TrainConfig, repeats: int, figures: Figures) -> None:
    """Alternate np.load and the reader, from the page cache and from the disk."""
    files, shards = _write_npy(folder, data), [_shard(data.store, song) for song in data.train.songs]
    size, workers = sum(path.stat().st_size for path in files), config.workers
    batch = RECORDS * size / len(files)
    for cached in (True, False):
        where = "page cache" if cached else "disk"
        names = f"loading: rate from the {where}", f"loading: waiting with a stand-in, {where}"
        if not cached and not hasattr(os, "posix_fadvise"):
            figures.skip(names[0], "this system cannot empty the page cache", least=LEAST_RATE)
            continue
        plain, ours, waiting = [], [], []
        for _ in range(repeats):
            _prepare(files, cached)
            plain.append(size / _seconds(partial(_load_all, files, workers)) / 1e9)
            _prepare(shards, cached)
            run = _train_stand_in(data, config, forget=() if cached else shards)
            ours.append(run.rate)
            waiting.append(_waiting(run.rows[FILLING:]))
        rate, delivered, waited = (statistics.median(values) for values in (plain, ours, waiting))
        needed = batch / rate / 1e9
        print(
            f"loading: {where}, {workers} threads, a batch of {batch / 1e6:.0f} MB: np.load {rate:.2f} GB/s, "
            f"{1000 * needed:.0f} ms per batch; ours {delivered:.2f} GB/s with steps of {1000 * STEP:.0f} ms, waiting "
            f"{100 * waited:.1f} %; load {os.getloadavg()[0]:.1f}",
            flush=True,
        )
        reason = f"np.load takes {1000 * needed:.0f} ms per step of {1000 * STEP:.0f} ms"
        if needed < LEAST_RATE * STEP:
            figures.skip(names[0], f"{reason}: the step is the limit")
            figures.add(names[1], 100 * waited, "%", most=100 * MOST_WAITING)
        else:
            # The step may limit the rate, too.
            figures.add(names[0], delivered / min(rate, batch / STEP / 1e9), "× np.load", least=LEAST_RATE)
            figures.skip(names[1], f"{reason}: reading is the limit", most=100 * MOST_WAITING)


def _train_stand_in(data: Data, config: TrainConfig, *, forget: Sequence[Path]) -> "_StandInRun":
    """Train the stand-in with the real reader and loop, without validation."""
    device = choose_device(config.device)
    plans = [plan_epoch(data.train, config, epoch=epoch) for epoch in range(config.epochs)]
    sizes = [sum(_bytes(data, item) for item in batch.items) for plan in plans for batch in plan]
    run, records = _StandInRun(sizes, forget), Records(data.store, streams=data.streams, stride=1)
    trainer = Trainer(
        StandIn(data.features).to(device),
        config,
        Objective(beta=0.0, smooth_l1_beta=0.5, mix="none"),
        precision="fp32",
        reader=Reader(records, workers=config.workers, device=device),
        hooks=Hooks(
            plan=plans.__getitem__,
            evaluate=lambda: {"mean": dict.fromkeys(METRICS, 0.0)},
            improved=lambda metrics: None,
            checkpoint=lambda: None,
            listeners=[run],
        ),
    )
    trainer.run()
    return run


class _StandInRun(Steps):
    """Keeps the steps and their ends; removes files from the page cache after each step."""

    def __init__(self, sizes: Sequence[int], forget: Sequence[Path]) -> None:
        super().__init__()
        self._sizes, self._forget = sizes, forget
        self._ends: list[float] = []

    def step(self, row: StepRow) -> None:
        """Keep a row."""
        super().step(row)
        self._ends.append(time.perf_counter())
        if self._forget:
            _prepare(self._forget, cached=False)

    @property
    def rate(self) -> float:
        """GB/s of stored records, once the reader's memory is in place."""
        return sum(self._sizes[FILLING:]) / (self._ends[-1] - self._ends[FILLING - 1]) / 1e9


def _bytes(data: Data, item: Item) -> int:
    return data.store.rows[item.song, item.view].frames * data.features * 2  # float16


def _write_npy(folder: Path, data: Data) -> list[Path]:
    """The training records as .npy files, all on the disk."""
    folder.mkdir()
    files = [folder / f"{number}.npy" for number in range(len(data.train.songs))]
    for song, path in zip(data.train.songs, files, strict=True):
        np.save(path, data.store.read(song))
    os.sync()
    return files


def _shard(store: EmbeddingStore, song: str) -> Path:
    return Path(store.root) / record_path(song, 0) / SHARD


def _prepare(files: Sequence[Path], cached: bool) -> None:
    """Read the files into the page cache, or remove them from it."""
    for path in files:
        with path.open("rb", buffering=0) as file:
            if not cached:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
                continue
            buffer = bytearray(1 << 20)
            while file.readinto(buffer):
                pass


def _load_all(files: Sequence[Path], workers: int) -> None:
    with ThreadPoolExecutor(workers) as threads:
        for _ in threads.map(lambda path: np.load(path).shape, files):
            pass


def _seconds(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def _waiting(rows: Sequence[StepRow]) -> float:
    """The share of the steps' time that they waited for data."""
    return sum(row.seconds * row.waiting for row in rows) / sum(row.seconds for row in rows)


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
