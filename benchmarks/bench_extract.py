"""Extraction of one song: HEAR ("ours") and the published code ("plain"), on the same weights and audio.

    python -m benchmarks.bench_extract --seconds 210 --audio song.mp3

The weights are random, of the published sizes (329 M parameters each) and the same on every machine; layer 10, four
streams. Repeats alternate, and ratios are those of medians. The parts of ours are timed in a separate run.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch

from benchmarks.memory import peak_gigabytes
from benchmarks.plain_encoders import PlainEncoders
from stages.common.machine import count_cores
from stages.extract.audio.reading import SAMPLE_RATE, Waveform, read_audio, resample
from stages.extract.encoders.layers.mel import MELS
from stages.extract.encoders.layers.segments import segment_lengths, spectrograms, token_count
from stages.extract.encoders.load import assemble
from stages.extract.encoders.multiscale import STREAMS, MultiScale
from stages.extract.encoders.weights.untrained import KERNEL, TINY, Sizes, untrained
from stages.extract.plan import SongTask
from stages.extract.run import Extractor
from stages.extract.views.augment import draw_view
from stages.extract.views.feed import ViewFeed
from store import Spec, StoreWriter

LAYER = 10
# As the published encoders.
FULL = Sizes(layers=12, width=1024, heads=16, inner=4096, channels=512)
# The clean song and eight augmented views, as in the paper's training.
VIEWS = 9
Result = TypeVar("Result")


def main() -> None:
    """Measure and print."""
    options = _options()
    torch.set_num_threads(options.threads)
    sizes = {"full": FULL, "tiny": TINY}[options.sizes]
    with tempfile.TemporaryDirectory() as folder:
        path = options.audio or _synthesised(Path(folder) / "song.flac", options.seconds)
        song = _decoded(path, options.seconds)
    weights = {name: untrained(name, sizes) for name in ("musicfm", "muq")}
    ours = assemble(weights, layers=(LAYER,), streams=STREAMS, device=options.device, precision=options.precision)
    waveform = resample(song, SAMPLE_RATE)
    print(f"{ours.device}, {ours.precision}, {options.threads} threads, load {os.getloadavg()[0]:.1f}", flush=True)
    ours.encode(waveform.samples[: 5 * SAMPLE_RATE])
    _encoder_parts(ours, waveform)
    frames, seconds = _timed(lambda: ours.encode(waveform.samples))
    print(f"{frames.shape} in {seconds:.1f} s, peak memory including weights: {peak_gigabytes(ours.device):.1f} GB")
    _writing(ours, frames)
    _pipeline(ours, song, options.view_seconds)
    if ours.device.type == "cuda":
        _share_of_matmul_rate(ours, waveform, sizes)
    if options.repeats:
        _compare(ours, PlainEncoders(weights, sizes, ours.device), waveform, options.repeats)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=210.0, help="length of the song (default: 210)")
    parser.add_argument(
        "--view-seconds", type=float, default=60.0, help="length of the song in the run of nine views (default: 60)"
    )
    parser.add_argument("--audio", type=Path, help="audio file, looped or cut (default: a synthesised song)")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--precision", default="auto", help="precision of ours: auto, fp32 or bf16")
    parser.add_argument("--repeats", type=int, default=1, help="repeats of both; 0 times only ours (default: 1)")
    parser.add_argument("--sizes", choices=("full", "tiny"), default="full", help="encoders (default: full)")
    parser.add_argument("--threads", type=int, default=count_cores(), help="CPU threads")
    return parser.parse_args()


def _synthesised(path: Path, seconds: float) -> Path:
    import soundfile

    rate = 44_100
    moment = np.arange(int(seconds * rate)) / rate
    notes = 220.0 * 2.0 ** (np.random.default_rng(0).integers(0, 24, int(seconds * 4) + 1) / 12)
    pitch = notes[(moment * 4).astype(int)]
    tone = sum(np.sin(2 * np.pi * np.cumsum(pitch * k) / rate) / k for k in (1, 2, 3)) * np.exp(-4 * (moment * 4 % 1))
    noise = np.random.default_rng(1).standard_normal(moment.size) * np.exp(-40 * (moment * 2 % 1))
    soundfile.write(path, np.stack([0.2 * tone + 0.1 * noise, 0.2 * tone - 0.1 * noise], axis=1), rate)
    return path


def _timed(run: Callable[[], Result], device: torch.device | None = None) -> tuple[Result, float]:
    started = time.perf_counter()
    result = run()
    if device is not None and device.type == "cuda":
        torch.cuda.synchronize(device)
    return result, time.perf_counter() - started


def _decoded(path: Path, seconds: float) -> Waveform:
    """Time the steps before the encoders; return the song at its own rate, looped or cut to the given length."""
    decoded, decode = _timed(lambda: read_audio(path))
    song = Waveform(np.resize(decoded.samples, int(seconds * decoded.rate)), decoded.rate)
    draw_view(song, song_id="warm", view=1, seed=0)
    (view, _), augment = _timed(lambda: draw_view(song, song_id="song", view=1, seed=0))
    _, resampling = _timed(lambda: resample(view, SAMPLE_RATE))
    decode *= seconds * decoded.rate / decoded.samples.size
    print(f"{seconds:.0f} s: decode {decode:.2f} s, augment {augment:.2f} s, resample {resampling:.2f} s")
    return song


def _encoder_parts(ours: MultiScale, waveform: Waveform) -> None:
    """Time our mel spectrogram, stem and conformer, both encoders together."""
    samples = torch.from_numpy(waveform.samples).to(ours.device)
    with torch.inference_mode():
        song, mel = _timed(lambda: spectrograms(samples, ours.log_mel), ours.device)
        stem, conformer = 0.0, {"segment": 0.0, "track": 0.0}
        for encoder in ours.encoders.values():
            tokens, seconds = _timed(lambda e=encoder: e.scales(song, conformer), ours.device)
            stem += seconds
            for scale, signals in (("segment", song.lengths), ("track", (samples.numel(),))):
                run = encoder.hidden_states(tokens[scale], signals, ours.layers, batch=ours.batch)
                conformer[scale] += _timed(lambda r=run: [None for _ in r], ours.device)[1]
    parts = ", ".join(f"conformer {scale} {seconds:.2f} s" for scale, seconds in conformer.items())
    print(f"mel {mel:.2f} s, stem {stem:.2f} s, {parts}")


def _spec(ours: MultiScale) -> Spec:
    return Spec(
        streams=ours.streams,
        channels=ours.channels,
        encoders=ours.hashes,
        layers=ours.layers,
        precision=ours.precision,
    )


def _writing(ours: MultiScale, frames: npt.NDArray[np.float32]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = StoreWriter.open(Path(folder) / "store.zarr", _spec(ours))
        _, seconds = _timed(lambda: store.write("song", 0, frames, attributes={}))
    print(f"write {seconds:.2f} s ({frames.size * 2 / 1e6:.0f} MB)")


def _pipeline(ours: MultiScale, song: Waveform, seconds: float) -> None:
    """Time a whole run of one song's nine views: views are prepared ahead, encoded, and written in the background."""
    import soundfile

    readers = max(1, min(8, count_cores() - 1))
    with tempfile.TemporaryDirectory() as folder, ViewFeed(processes=readers) as feed:
        path = Path(folder) / "song.flac"
        soundfile.write(path, np.resize(song.samples, int(seconds * song.rate)), song.rate)
        writer = StoreWriter.open(Path(folder) / "store.zarr", _spec(ours))
        tally = Extractor(ours, writer, feed, seed=0).run(
            [SongTask("song", path, tuple(range(VIEWS)))], report=lambda outcome: None
        )
    print(
        f"{tally.done} views of {seconds:.0f} s, {readers} reader processes: {tally.elapsed:.1f} s, "
        f"{tally.audio / tally.elapsed:.2f}× real time; encoders waited for input {100 * tally.idle:.1f} % of the time",
        flush=True,
    )


def _compare(ours: MultiScale, plain: PlainEncoders, waveform: Waveform, repeats: int) -> None:
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
    for what, values in (("time", times), ("CPU time", busy)):
        print(f"{what}, ratio of medians: {statistics.median(values['plain']) / statistics.median(values['ours']):.2f}")
    fast, slow = results["ours"], results["plain"]
    cosine = (fast * slow).sum(-1) / (np.linalg.norm(fast, axis=-1) * np.linalg.norm(slow, axis=-1))
    print(f"largest difference of a value {np.abs(fast - slow).max():.2g}, lowest cosine of a frame {cosine.min():.6f}")


def _share_of_matmul_rate(ours: MultiScale, waveform: Waveform, sizes: Sizes) -> None:
    """Print our FLOP/s as a share of the rate of a large bf16 matrix product on this GPU."""
    size, rounds = 8_192, 50
    left, right = (torch.randn(size, size, device=ours.device, dtype=torch.bfloat16) for _ in range(2))
    for _ in range(5):
        left @ right
    torch.cuda.synchronize(ours.device)
    _, seconds = _timed(lambda: [left @ right for _ in range(rounds)], ours.device)
    rate = rounds * 2 * size**3 / seconds
    ours.encode(waveform.samples)
    _, seconds = _timed(lambda: ours.encode(waveform.samples))
    reached = products(waveform.samples.size, sizes) / seconds
    print(f"bf16 matmul {rate / 1e12:.0f} TFLOP/s, ours {reached / 1e12:.0f} TFLOP/s: {100 * reached / rate:.0f} %")


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
