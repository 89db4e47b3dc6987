"""Preparation of views: core-seconds per view by part, and views per second beside a stand-in encoder.

    python -m benchmarks.bench_feed --audio song.mp3

1. Nine views of one song with one reader, in core-seconds per view of 210 s: first each part, and the augmentation
   also as it was before (the transforms one by one, at the file's own rate, with the same draws); then a whole run. The
   stand-in encoder checks the samples, sleeps for 60 ms in the thread that launches, and returns a ready float16 array
   of the published size. Stores are written to the folder for temporary files.
2. Songs of 60 to 300 s with nine views each, and as many readers as cores, at most six, so that readers are the
   bottleneck: the feed and the previous one ("plain") take turns; the ratio is that of medians. Efficiency is the time
   in which readers computed, or were ready to and waited for a core that another thread or program used, / (readers ×
   elapsed time). Linux counts both; elsewhere it is not measured.

Readers' core-seconds are those of their processes during the runs, without their start.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import soundfile
from numpy.typing import NDArray

from benchmarks.figures import Figures
from benchmarks.plain_feed import PlainFeed, augment_plainly, hand_over_arrays
from benchmarks.songs import synthesise
from stages.common.machine import count_cores
from stages.common.processes import Processes
from stages.extract.audio.loudness import loudest_second
from stages.extract.audio.reading import SAMPLE_RATE, read_audio, read_rates, resample
from stages.extract.audio.source import source_hash
from stages.extract.encoders.multiscale import STREAMS, Launched
from stages.extract.plan import SongTask
from stages.extract.run import Extractor
from stages.extract.views.augment import draw_view
from stages.extract.views.feed import ViewFeed
from store import Spec, StoreWriter

VIEWS = tuple(range(9))
# The length to which core-seconds are scaled, that of the synthesised song, and those of the songs of the second part.
SCALED, SYNTHESISED, SHORTEST, LONGEST = 210.0, 144.0, 60.0, 300.0
ENCODER_SECONDS, FRAME_RATE, CHANNELS = 0.06, 25, 1024
SPEC = Spec(streams=STREAMS, channels=CHANNELS, encoders={}, layers=(10,))
# Views that are handed over to measure that part.
HANDED_OVER = 40


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--audio", type=Path, help="a song of at least 30 s (default: a synthesised MP3 of 144 s)")
    parser.add_argument("--readers", type=int, default=min(6, count_cores()), help="readers of the second part")
    parser.add_argument("--songs", type=int, help="songs of the second part (default: three per reader)")
    parser.add_argument("--rounds", type=int, default=2, help="runs of each feed; 0 omits the second part (default: 2)")
    options, figures = Figures.parse(parser)
    print(f"{count_cores()} cores, load {os.getloadavg()[0]:.1f}", flush=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        song = options.audio or synthesise(folder / "song.mp3", SYNTHESISED)
        _one_song(song, folder, figures)
        if options.rounds:
            songs = options.songs or 3 * options.readers
            tasks = _mixed_songs(song, folder, songs)
            _mixed(tasks, folder, figures, readers=options.readers, rounds=options.rounds)


def _mixed_songs(song: Path, folder: Path, count: int) -> list[SongTask]:
    """MP3s with parts of the song, looped if it is shorter, in a random order of lengths."""
    decoded = read_audio(song)
    lengths = np.random.default_rng(0).permutation(np.linspace(SHORTEST, LONGEST, count))

    def save(number: int) -> SongTask:
        mono = np.resize(decoded.samples, int(lengths[number] * decoded.rate))
        path = folder / f"{number}.mp3"
        soundfile.write(path, np.stack([mono, np.roll(mono, 100)], axis=1), decoded.rate)
        return SongTask(str(number), path, VIEWS)

    with ThreadPoolExecutor(count_cores()) as threads:
        return list(threads.map(save, range(count)))


class StandIn:
    """Takes the time of a GPU's encoders, and returns noise."""

    def __init__(self) -> None:
        values = len(STREAMS) * CHANNELS * int(1.02 * LONGEST * FRAME_RATE)
        self._noise = np.random.default_rng(0).standard_normal(values, np.float32).astype(np.float16)

    def launch(self, samples: NDArray[np.float32], **_: Any) -> Launched:
        """Sleep; the frames are ready."""
        assert np.isfinite(samples).all()
        time.sleep(ENCODER_SECONDS)
        shape = len(STREAMS), len(samples) * FRAME_RATE // SAMPLE_RATE, CHANNELS
        frames: Any = self._noise[: shape[0] * shape[1] * shape[2]].reshape(shape)
        return Launched(lambda: frames, {})


@dataclass(frozen=True)
class Run:
    """Views of a run, seconds of audio, elapsed seconds, and core-seconds of readers, this process, and its driver.

    `busy` is the sum of the readers' seconds on a core or waiting for one.
    """

    views: int
    audio: float
    elapsed: float
    readers: float
    process: float
    driving: float
    busy: float

    def per_view(self, seconds: float) -> float:
        """Core-seconds scaled to one view of `SCALED` seconds."""
        return seconds * SCALED / self.audio


def _run(feed: Any, tasks: Sequence[SongTask], folder: Path) -> Run:
    encoders: Any = StandIn()
    with tempfile.TemporaryDirectory(dir=folder) as name:
        extractor = Extractor(encoders, StoreWriter.open(Path(name) / "store.zarr", SPEC), feed, seed=0)
        readers, busy, process, driving = _children_seconds(), _busy_seconds(), time.process_time(), time.thread_time()
        tally = extractor.run(tasks, report=lambda outcome: None)
        process, driving = time.process_time() - process, time.thread_time() - driving
        readers, busy = _children_seconds() - readers, _busy_seconds() - busy
    assert not tally.failures, tally.failures[0].error
    return Run(tally.done, tally.audio, tally.elapsed, readers, process, driving, busy)


def _children_seconds() -> float:
    """CPU time of this process's children so far."""
    times = [process.cpu_times() for process in psutil.Process().children()]
    return sum(one.user + one.system for one in times)


def _busy_seconds() -> float:
    """Time that threads of the children were on a core or ready to be, so far; 0 if the system does not count it."""
    places = [Path(f"/proc/{process.pid}/task") for process in psutil.Process().children()]
    counts = [file.read_text().split() for place in places for file in place.glob("*/schedstat")]
    return sum(int(on_core) + int(waiting) for on_core, waiting, _ in counts) / 1e9


def _warm(feed: Any, readers: int, folder: Path) -> None:
    """Let each reader load its libraries."""
    path = synthesise(folder / "warm.wav", 5.0)
    _run(feed, [SongTask(str(number), path, (0, 1, 2, 3)) for number in range(readers)], folder)


def _one_song(song: Path, folder: Path, figures: Figures) -> None:
    """Time the parts of nine views, then a run."""
    parts, seconds = _parts(song)
    with ViewFeed(processes=1) as feed:
        _warm(feed, 1, folder)
        run = _run(feed, [SongTask("song", song, VIEWS)], folder)
    parts["driving thread"] = run.driving / len(VIEWS)
    parts["writing"] = (run.process - run.driving) / len(VIEWS)
    for name, value in parts.items():
        print(f"{name}: {value * SCALED / seconds:.3f} core-seconds per view of {SCALED:.0f} s", flush=True)
    figures.add("augment: core-seconds per view", parts["augment and resample"] * SCALED / seconds, "s", most=0.7)
    figures.add(
        "augment: one by one / ours", parts["  the same, one by one"] / parts["augment and resample"], "×", least=2.5
    )
    figures.add("feed: core-seconds per view", run.per_view(run.readers + run.process), "s", most=1.0)
    figures.add("feed: core-seconds per view on the driving thread", run.per_view(run.driving), "s", most=0.05)


def _parts(song: Path) -> tuple[dict[str, float], float]:
    """Core-seconds per view of each part of the preparation, in this process; and the song's length in seconds."""
    clean, own = read_rates(song, (SAMPLE_RATE, None))
    draw_view(own, song_id="warm", view=1, seed=0)  # imports modules
    augment_plainly(own, "warm", 1)
    shares: dict[str, tuple[Callable[[], object], float]] = {
        "decode": (lambda: read_rates(song, (SAMPLE_RATE, None)), 1 / len(VIEWS)),
        "hash": (lambda: source_hash(song), 1 / len(VIEWS)),
        "augment and resample": (
            lambda: [draw_view(own, song_id="song", view=view, seed=0) for view in VIEWS[1:]],
            1 / len(VIEWS),
        ),
        "  the same, one by one": (
            lambda: [resample(augment_plainly(own, "song", view)) for view in VIEWS[1:]],
            1 / len(VIEWS),
        ),
        "  of this, resample": (lambda: resample(own), (len(VIEWS) - 1) / len(VIEWS)),
        "level and check": (lambda: (loudest_second(clean.samples), np.isfinite(clean.samples).all()), 1.0),
    }
    parts = {name: _core_seconds(part) * share for name, (part, share) in shares.items()}
    with Processes(1) as processes:
        hand_over = partial(processes.stream, 60.0, hand_over_arrays, range(HANDED_OVER), len(clean.samples))
        processes.call(60.0, np.zeros, 1)
        before = _children_seconds()
        parts["hand-over"] = _core_seconds(lambda: sum(array[0] for array in hand_over()))
        parts["hand-over"] = (parts["hand-over"] + _children_seconds() - before) / HANDED_OVER
    return parts, clean.seconds


def _core_seconds(part: Callable[[], object]) -> float:
    start = time.process_time()
    part()
    return time.process_time() - start


def _mixed(tasks: Sequence[SongTask], folder: Path, figures: Figures, *, readers: int, rounds: int) -> None:
    """Both feeds take turns on the same songs."""
    plain = PlainFeed(readers)
    with ViewFeed(processes=readers) as feed:
        feeds = {"ours": feed, "plain": plain}
        runs: dict[str, list[Run]] = {name: [] for name in feeds}
        for each in feeds.values():
            _warm(each, readers, folder)
        for name in [*feeds] * rounds:
            run = _run(feeds[name], tasks, folder)
            runs[name].append(run)
            print(
                f"{name}: {run.views} views, {readers} readers: {run.views / run.elapsed:.2f} views per second, "
                f"{run.per_view(run.readers + run.process):.2f} core-seconds per view of {SCALED:.0f} s, "
                f"efficiency {run.busy / run.elapsed / readers:.3f}, load {os.getloadavg()[0]:.1f}",
                flush=True,
            )
    plain.close()
    speed = {name: statistics.median(run.views / run.elapsed for run in found) for name, found in runs.items()}
    figures.add("feed: views per second", speed["ours"])
    figures.add("feed: views per second, against one decode per view in order", speed["ours"] / speed["plain"], "×")
    efficiency = statistics.median(run.busy / run.elapsed / readers for run in runs["ours"])
    if efficiency:
        figures.add("feed: efficiency", efficiency, least=0.95)
    else:
        figures.skip("feed: efficiency", "the system does not count the time that threads wait for a core", least=0.95)


if __name__ == "__main__":
    main()
