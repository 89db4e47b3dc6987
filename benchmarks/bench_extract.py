"""Extraction: HEAR ("ours") and the published code ("plain"), on the same weights and audio.

    python -m benchmarks.bench_extract --seconds 210 --audio song.mp3

The weights are random, of the published sizes (329 M parameters each) and the same on every machine; layer 10, four
streams. Repeats alternate, and ratios are those of medians. The parts of ours are timed in a separate run. Defaults for
lengths are short on a CPU, so that a run takes four minutes on two cores.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch

from benchmarks.figures import Figures
from benchmarks.memory import peak_gigabytes
from benchmarks.plain_encoders import PlainEncoders
from benchmarks.songs import synthesise
from stages.common.device import exact_float32
from stages.common.machine import count_cores, default_readers
from stages.extract.audio.reading import SAMPLE_RATE, Waveform, read_audio, resample
from stages.extract.encoders.layers.mel import MELS
from stages.extract.encoders.layers.segments import segment_lengths, spectrograms, token_count
from stages.extract.encoders.load import assemble
from stages.extract.encoders.multiscale import STREAMS, MultiScale
from stages.extract.encoders.weights.untrained import KERNEL, TINY, Sizes, untrained
from stages.extract.plan import SongTask
from stages.extract.run import Extractor
from stages.extract.views.feed import ViewFeed
from store import Spec, StoreWriter

LAYER = 10
# As the published encoders.
FULL = Sizes(layers=12, width=1024, heads=16, inner=4096, channels=512)
# The clean song and eight augmented views, as in the paper's training.
VIEWS = 9
Result = TypeVar("Result")

# Goals, by device: times the speed of the plain way, for songs of at least this length.
FASTER, GOAL_SECONDS = {"cpu": 4.0, "cuda": 8.0}, 210.0
# By device: seconds of the compared song, seconds and number of the songs in the whole run, and the range of lengths.
SONG = {"cpu": 45.0, "cuda": 210.0}
VIEW = {"cpu": 10.0, "cuda": 210.0}
SONGS = {"cpu": 1, "cuda": 20}
LENGTHS = {"cpu": (1.0, 5.0), "cuda": (60.0, 300.0)}
# SongEval with eight augmented views: hours of audio in 19,991 views, as validation songs have only view 0.
SONGEVAL_HOURS = 1_169
HOURS = {"cpu": None, "cuda": 0.5}
NO_GPU = "no GPU"


def main() -> None:
    """Measure and print."""
    options, figures = Figures.parse(_parser())
    torch.set_num_threads(options.threads)
    sizes = {"full": FULL, "tiny": TINY}[options.sizes]
    weights = {name: untrained(name, sizes) for name in ("musicfm", "muq")}
    ours = assemble(weights, layers=(LAYER,), streams=STREAMS, device=options.device, precision=options.precision)
    kind = ours.device.type
    seconds = options.seconds or SONG[kind]
    with tempfile.TemporaryDirectory() as folder:
        path = options.audio or synthesise(Path(folder) / "song.flac", seconds)
        decoded = read_audio(path)
    song = Waveform(np.resize(decoded.samples, int(seconds * decoded.rate)), decoded.rate)
    waveform = resample(song)
    print(f"{ours.device}, {ours.precision}, {options.threads} threads, load {os.getloadavg()[0]:.1f}", flush=True)
    ours.encode(waveform.samples[: 5 * SAMPLE_RATE])
    _encoder_parts(ours, waveform)
    frames, elapsed = _timed(lambda: ours.encode(waveform.samples))
    print(f"{frames.shape} in {elapsed:.1f} s, peak memory including weights: {peak_gigabytes(ours.device):.1f} GB")
    if options.profile:
        _profile(ours, waveform)
    _lengths(ours, waveform, options.lengths or LENGTHS[kind], figures)
    view_seconds = options.view_seconds or VIEW[kind]
    rate = _pipeline(ours, song, view_seconds, options.songs or SONGS[kind], figures)
    flops = products(int(view_seconds * SAMPLE_RATE), sizes) / view_seconds * rate
    _share_of_matmul_rate(ours.device, flops, figures)
    if options.repeats:
        # The goals are for the published sizes.
        # On a short song, the published way is spared the square of its length.
        least = FASTER[kind] if sizes == FULL and seconds >= GOAL_SECONDS else None
        _compare(ours, PlainEncoders(weights, sizes, ours.device), waveform, options.repeats, figures, least=least)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, help="length of the song (default: 210 on a GPU, 45 on a CPU)")
    parser.add_argument(
        "--view-seconds", type=float, help="length of each song in the whole run (default: 210 on a GPU, 10 on a CPU)"
    )
    parser.add_argument("--songs", type=int, help="songs in the whole run, nine views each (default: 20 or 1)")
    parser.add_argument(
        "--lengths", type=float, nargs=2, help="shortest and longest of 20 lengths (default: 60 300 or 1 5)"
    )
    parser.add_argument("--audio", type=Path, help="audio file, looped or cut (default: a synthesised song)")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--precision", default="auto", help="precision of ours: auto, fp32 or bf16")
    parser.add_argument("--repeats", type=int, default=1, help="repeats of both; 0 times only ours (default: 1)")
    parser.add_argument("--sizes", choices=("full", "tiny"), default="full", help="encoders (default: full)")
    parser.add_argument("--threads", type=int, default=count_cores(), help="CPU threads")
    parser.add_argument("--profile", action="store_true", help="print the time of each kernel")
    return parser


def _timed(run: Callable[[], Result], device: torch.device | None = None) -> tuple[Result, float]:
    started = time.perf_counter()
    result = run()
    if device is not None and device.type == "cuda":
        torch.cuda.synchronize(device)
    return result, time.perf_counter() - started


def _encoder_parts(ours: MultiScale, waveform: Waveform) -> None:
    """Time our mel spectrogram, stem and conformer, both encoders together."""
    samples = torch.from_numpy(waveform.samples).to(ours.device)
    with torch.inference_mode(), exact_float32():
        song, mel = _timed(lambda: spectrograms(samples, ours.log_mel), ours.device)
        lengths = {"segment": song.lengths, "track": (samples.numel(),)}
        stem, conformer = 0.0, 0.0
        for encoder in ours.encoders.values():
            tokens, seconds = _timed(lambda e=encoder: e.scales(song, lengths), ours.device)
            stem += seconds
            run = encoder.hidden_states(tokens, lengths, ours.layers, batch=ours.batch)
            conformer += _timed(lambda r=run: [None for _ in r], ours.device)[1]
    print(f"mel {mel:.2f} s, stem {stem:.2f} s, conformer {conformer:.2f} s")


def _profile(ours: MultiScale, waveform: Waveform) -> None:
    """Print the time of each kernel, or of each operator on a CPU."""
    kinds, on_gpu = torch.profiler.ProfilerActivity, ours.device.type == "cuda"
    with torch.profiler.profile(activities=[kinds.CPU, kinds.CUDA] if on_gpu else [kinds.CPU]) as profiled:
        ours.encode(waveform.samples)
    order = "self_cuda_time_total" if on_gpu else "self_cpu_time_total"
    print(profiled.key_averages().table(sort_by=order, row_limit=30, max_name_column_width=70), flush=True)


def _lengths(ours: MultiScale, waveform: Waveform, limits: Sequence[float], figures: Figures) -> None:
    """Encode songs of 20 lengths, each twice: as nearly every song has a new length, the first must not cost more."""
    times: list[tuple[float, ...]] = []
    for seconds in np.random.default_rng(0).permutation(np.linspace(*limits, 20)):
        # An odd number of samples, so that no two songs share a number of frames in the last piece.
        samples = np.resize(waveform.samples, int(seconds * SAMPLE_RATE) + 1)
        times.append(tuple(_timed(lambda s=samples: ours.encode(s))[1] for _ in range(2)))
    first, seen = (statistics.median(column) for column in zip(*times, strict=True))
    figures.add(f"encoders: median of 20 lengths, {limits[0]:g} to {limits[1]:g} s", seen, "s")
    name = "encoders: time of a new length / of a seen one"
    if ours.device.type == "cuda":
        figures.add(name, first / seen, most=1.3)
    else:
        figures.skip(name, NO_GPU, most=1.3)


def _spec(ours: MultiScale) -> Spec:
    return Spec(
        streams=ours.streams,
        channels=ours.channels,
        encoders=ours.hashes,
        layers=ours.layers,
        precision=ours.precision,
    )


def _pipeline(ours: MultiScale, song: Waveform, seconds: float, songs: int, figures: Figures) -> float:
    """Time a whole run: views are prepared ahead, encoded, and written in the background. Return audio per second."""
    import soundfile

    readers = default_readers()
    with tempfile.TemporaryDirectory() as folder, ViewFeed(processes=readers) as feed:
        path = Path(folder) / "song.flac"
        soundfile.write(path, np.resize(song.samples, int(seconds * song.rate)), song.rate)
        tasks = [SongTask(f"song {number}", path, tuple(range(VIEWS))) for number in range(songs)]
        # The first run starts the readers.
        for number, work in enumerate(([SongTask("first", path, (0,))], tasks)):
            writer = StoreWriter.open(Path(folder) / f"{number}.zarr", _spec(ours))
            tally = Extractor(ours, writer, feed, seed=0).run(work, report=lambda outcome: None)
    rate = tally.audio / tally.elapsed
    print(
        f"{tally.done} views of {seconds:.0f} s, {readers} reader processes: {tally.elapsed:.1f} s, "
        f"{rate:.2f}× real time; encoders waited for input {100 * tally.idle:.1f} % of the time",
        flush=True,
    )
    figures.add("extraction: SongEval × 9 at this rate", SONGEVAL_HOURS / rate, "h", most=HOURS[ours.device.type])
    return rate


def _compare(
    ours: MultiScale, plain: PlainEncoders, waveform: Waveform, repeats: int, figures: Figures, *, least: float | None
) -> None:
    """Alternate both; print each time, the ratio of medians, and how much the results differ."""
    samples = torch.from_numpy(waveform.samples)
    runs = {"ours": lambda: ours.encode(waveform.samples), "plain": lambda: plain.encode(samples, LAYER).numpy()}
    times: dict[str, list[float]] = {name: [] for name in runs}
    busy: dict[str, list[float]] = {name: [] for name in runs}
    results = {}
    for name in [*runs] * repeats:
        before = time.process_time()
        results[name], seconds = _timed(runs[name])
        times[name].append(seconds)
        busy[name].append(time.process_time() - before)
        print(f"{name}: {seconds:.1f} s, {busy[name][-1]:.1f} s of CPU, load {os.getloadavg()[0]:.1f}", flush=True)
    faster, cheaper = (
        statistics.median(values["plain"]) / statistics.median(values["ours"]) for values in (times, busy)
    )
    figures.add("encoders: published / ours", faster, "×", least=least)
    print(f"CPU time, ratio of medians: {cheaper:.2f}")
    fast, slow = results["ours"], results["plain"]
    cosine = (fast * slow).sum(-1) / (np.linalg.norm(fast, axis=-1) * np.linalg.norm(slow, axis=-1))
    print(f"largest difference of a value {np.abs(fast - slow).max():.2g}, lowest cosine of a frame {cosine.min():.6f}")


def _share_of_matmul_rate(device: torch.device, flops: float, figures: Figures) -> None:
    """Compare a whole run's FLOP/s, feed and writing included, with a large bf16 matrix product on this GPU."""
    name = "extraction: share of the bf16 matmul rate, with feed and writing"
    if device.type != "cuda":
        figures.skip(name, NO_GPU, least=0.5)
        return
    size, rounds = 8_192, 50
    left, right = (torch.randn(size, size, device=device, dtype=torch.bfloat16) for _ in range(2))
    for _ in range(5):
        left @ right
    torch.cuda.synchronize(device)
    _, seconds = _timed(lambda: [left @ right for _ in range(rounds)], device)
    peak = rounds * 2 * size**3 / seconds
    figures.add("bf16 matmul", peak / 1e12, "TFLOP/s")
    figures.add(name, flops / peak, least=0.5)


def products(samples: int, sizes: Sizes) -> float:
    """Count the FLOP of one song in our path: the stem once, `LAYER` layers at two scales, for two encoders."""
    width, inner, channels = sizes.width, sizes.inner, sizes.channels
    lengths = [token_count(length) for length in segment_lengths(samples)]
    tokens = token_count(samples)
    pixels = tokens * (MELS // 4)
    stem = 2 * 9 * channels * (4 * pixels * (2 + channels) + pixels * 3 * channels) + 2 * pixels * channels * width
    layer = 2 * (4 * width * inner + 7 * width**2 + KERNEL * width)
    attention = 4 * width * (tokens**2 + sum(count**2 for count in lengths))
    return 2.0 * (stem + LAYER * (layer * (tokens + sum(lengths)) + attention))


if __name__ == "__main__":
    main()
