"""Training beside busy programs: HEAR's threads wait without spinning; OpenMP's default ("plain") is to spin.

    python -m benchmarks.bench_busy --repeats 3

The small head trains in its own process on songs held in memory: alone, and beside busy loops. With two cores and eight
loops, a fair share is a fifth of the machine, so training takes at least five times as long.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from benchmarks.figures import Figures
from benchmarks.loading import Steps, generate_store, write_songs
from stages.common.machine import WAITING, count_cores
from stages.head.config import TrainConfig
from stages.head.training.train import train_head
from stages.songs import read_manifest

# The default of GNU's OpenMP: a thread spins this many times before it sleeps.
WAYS: dict[str, dict[str, str]] = {"ours": {}, "plain": {"GOMP_SPINCOUNT": "300000"}}
# It ends with this process, even if that is killed.
LOOP = "import os; parent = os.getppid()\nwhile os.getppid() == parent: pass"


def main() -> None:
    """Measure and print."""
    options, figures = Figures.parse(_parser())
    if options.train is not None:
        print(json.dumps(_train(options.train, options.threads, options.epochs)))
        return
    print(f"{options.threads} threads, {options.loops} busy loops, load {os.getloadavg()[0]:.1f}", flush=True)
    found: dict[tuple[str, bool], list[float]] = {(way, busy): [] for busy in (False, True) for way in WAYS}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        generate_store(folder / "store", options.songs, options.frames)
        write_songs(folder / "manifest.csv", options.songs)
        for _ in range(options.repeats):
            for way, busy in found:
                with _busy_loops(options.loops if busy else 0):
                    seconds = _in_own_process(folder, WAYS[way], options)
                found[way, busy].append(seconds)
                beside = "beside the loops" if busy else "alone"
                print(f"busy: {way:5} {beside:16}: {seconds:6.2f} s, load {os.getloadavg()[0]:.1f}", flush=True)
    medians = {case: statistics.median(seconds) for case, seconds in found.items()}
    for way, most in (("ours", 6.0), ("plain", None)):
        beside = medians[way, True] / medians[way, False]
        figures.add(f"busy: {way}, beside {options.loops} loops / alone", beside, "×", most=most)
    figures.add("busy: alone, ours / plain", medians["ours", False] / medians["plain", False], "×", most=1.05)
    figures.add("busy: beside the loops, plain / ours", medians["plain", True] / medians["ours", True], "×")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3, help="repeats of each measurement (default: 3)")
    parser.add_argument("--loops", type=int, default=8, help="number of busy loops (default: 8)")
    parser.add_argument("--threads", type=int, default=count_cores(), help="CPU threads")
    parser.add_argument("--songs", type=int, default=24, help="songs in the generated store (default: 24)")
    parser.add_argument("--frames", type=int, default=750, help="mean number of frames per song (default: 750)")
    parser.add_argument("--epochs", type=int, default=4, help="passes over the songs (default: 4)")
    parser.add_argument("--train", type=Path, help=argparse.SUPPRESS)
    return parser


@contextmanager
def _busy_loops(count: int) -> Iterator[None]:
    loops = [subprocess.Popen([sys.executable, "-c", LOOP]) for _ in range(count)]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


def _in_own_process(folder: Path, waiting: dict[str, str], options: argparse.Namespace) -> float:
    command = [sys.executable, "-m", "benchmarks.bench_busy", "--train", str(folder)]
    environment = {name: value for name, value in os.environ.items() if name not in WAITING}
    done = subprocess.run(
        [*command, "--threads", str(options.threads), "--epochs", str(options.epochs)],
        env={**environment, **waiting},
        stdout=subprocess.PIPE,
        check=True,
    )
    return float(json.loads(done.stdout))


def _train(folder: Path, threads: int, epochs: int) -> float:
    """Seconds of all steps except the first, which reads the songs."""
    torch.set_num_threads(threads)
    steps = Steps()
    with tempfile.TemporaryDirectory() as name:
        train_head(
            store=folder / "store",
            manifest=read_manifest(folder / "manifest.csv", check_files=False),
            track=2,
            out=Path(name) / "run",
            config=TrainConfig(size="small", epochs=epochs, accumulate=1, device="cpu"),
            listeners=[steps],
        )
    return sum(row.seconds for row in steps.rows[1:])


if __name__ == "__main__":
    main()
