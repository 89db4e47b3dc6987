"""Scoring in memory: `score_batch` of arrays ("ours"), and a loop that writes and scores files ("plain").

    python -m benchmarks.bench_scoring [--clips 10000] [--seconds 10] [--sizes full]

The head and the encoders are untrained; the tiny encoders show the time spent around them. First a generator makes
clips one by one, and the memory of this process must not grow after the first 100. Then the two ways alternate, with
the same scores, and the ratio is that of medians.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import soundfile
import torch
from numpy.typing import NDArray

from benchmarks.bench_extract import FULL
from benchmarks.figures import Figures
from stages.common.machine import count_cores
from stages.extract.encoders.load import assemble
from stages.extract.encoders.multiscale import STREAMS, MultiScale
from stages.extract.encoders.weights.untrained import TINY, untrained
from stages.head.checkpoint.ensemble import Ensemble
from stages.head.checkpoint.head import Head, HeadConfig
from stages.head.model.hear import HearHead
from stages.head.model.sizes import preset_sizes
from stages.scoring.scorer import Scorer
from stages.scoring.sources.audio import AudioSource
from stages.songs import DIMENSIONS

RATE = 44_100
# Clips before memory is compared: allocators have grown by then.
WARM_CLIPS = 100
MOST_GROWTH = 50.0


def main() -> None:
    """Measure and print."""
    options, figures = Figures.parse(_parser())
    torch.set_num_threads(options.threads)
    weights = {name: untrained(name, {"full": FULL, "tiny": TINY}[options.sizes]) for name in ("musicfm", "muq")}
    encoders = assemble(weights, layers=(10,), streams=STREAMS, device=options.device, precision="auto")
    ensemble = Ensemble([_head(encoders)])
    scorer = Scorer(ensemble, AudioSource(encoders, ensemble))
    print(
        f"{encoders.device}, {encoders.precision}, {options.threads} threads, load {os.getloadavg()[0]:.1f}", flush=True
    )
    _stream(scorer, options.clips, options.seconds, figures)
    _compare(scorer, options.compared, options.seconds, options.repeats, figures)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=1_000, help="clips of the stream (default: 1000)")
    parser.add_argument("--compared", type=int, default=20, help="clips that both ways score (default: 20)")
    parser.add_argument("--seconds", type=float, default=10.0, help="length of a clip (default: 10)")
    parser.add_argument("--repeats", type=int, default=5, help="repeats of both ways (default: 5)")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--sizes", choices=("full", "tiny"), default="tiny", help="encoders (default: tiny)")
    parser.add_argument("--threads", type=int, default=count_cores(), help="CPU threads")
    return parser


def _head(encoders: MultiScale) -> Head:
    torch.manual_seed(0)
    sizes = preset_sizes("small", features=len(STREAMS) * encoders.channels, classes=len(DIMENSIONS))
    streams = tuple(f"{stream}@10" for stream in STREAMS)
    return Head(HearHead(sizes).to(encoders.device), HeadConfig(sizes=sizes, dimensions=DIMENSIONS, streams=streams))


def _clips(count: int, seconds: float) -> Iterator[NDArray[np.float32]]:
    """Noise in stereo, (2, n), different in each clip."""
    block = np.random.default_rng(0).normal(0, 0.1, (2, round(seconds * RATE))).astype(np.float32)
    for number in range(count):
        yield np.roll(block, 997 * number, axis=1)


def _stream(scorer: Scorer, count: int, seconds: float, figures: Figures) -> None:
    """Score clips of a generator; sample the resident memory after each."""
    process, first, most, begun = psutil.Process(), 0.0, 0.0, time.perf_counter()
    for number, row in enumerate(scorer.score_batch(_clips(count, seconds), RATE), start=1):
        if row.error:
            raise SystemExit(row.error)
        resident = process.memory_info().rss / 1e6
        if number <= WARM_CLIPS:
            first = max(first, resident)
        most = max(most, resident)
        if number % 1_000 == 0:
            print(f"{number} clips: {resident:.0f} MB, load {os.getloadavg()[0]:.1f}", flush=True)
    figures.add(f"scoring: {count} clips of {seconds:g} s in memory", count / (time.perf_counter() - begun), "clips/s")
    figures.add(f"scoring: growth of memory after {WARM_CLIPS} clips", most - first, "MB", most=MOST_GROWTH)


def _compare(scorer: Scorer, count: int, seconds: float, repeats: int, figures: Figures) -> None:
    """Time both ways, which must give the same scores."""
    clips = list(_clips(count, seconds))

    def ours() -> list[object]:
        return [row.scores for row in scorer.score_batch(clips, RATE)]

    def plain() -> list[object]:
        rows = []
        with tempfile.TemporaryDirectory() as folder:
            for number, clip in enumerate(clips):
                path = Path(folder) / f"{number}.wav"
                soundfile.write(path, clip.T, RATE, subtype="FLOAT")
                rows.append(scorer.score(path).scores)
        return rows

    if ours() != plain():
        raise SystemExit("the two ways give different scores")
    times: dict[str, list[float]] = {"ours": [], "plain": []}
    for _ in range(repeats):
        for name, run in (("ours", ours), ("plain", plain)):
            begun = time.perf_counter()
            run()
            times[name].append(time.perf_counter() - begun)
    medians = {name: statistics.median(values) for name, values in times.items()}
    print(", ".join(f"{name} {count / median:.2f} clips/s" for name, median in medians.items()), flush=True)
    figures.add("scoring: files one by one / score_batch in memory", medians["plain"] / medians["ours"], "×", least=1.0)


if __name__ == "__main__":
    main()
