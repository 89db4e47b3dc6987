"""The head ("ours") and plain alternatives: a training step, a validation pass, C-Mixup partners, and loading.

    python -m benchmarks.bench_head --only step validation

The paper's head (38.07 M parameters) and songs of the published sizes: 4,096 features, 25 frames per second, lengths
spread evenly around the mean. The plain step is `plain_head.py` on songs padded to the longest of their half, in bf16
autocast (as in the published training) and in fp32. Every step runs in its own process, so that peak memory is that of
the step. Repeats alternate, and ratios are those of medians. Each side gets its batch as its loader provides it: ours
packed in float16, the plain one padded in float32.
"""

import argparse
import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.figures import Figures
from benchmarks.loading import measure_loading
from benchmarks.memory import peak_gigabytes
from benchmarks.partners import measure_partners
from benchmarks.plain_head import PlainHead
from stages.common.device import autocast, choose_device, choose_precision
from stages.common.machine import count_cores
from stages.head.checkpoint.head import score_packed
from stages.head.data.epoch_plan import PlannedBatch
from stages.head.data.records import Packed
from stages.head.model.hear import HearHead
from stages.head.model.packed import PackedModel
from stages.head.model.published import from_published
from stages.head.model.sizes import preset_sizes
from stages.head.training.losses import hybrid_loss
from stages.head.training.step import Objective, batch_loss

SIZES = preset_sizes("paper", features=4096, classes=5)
OBJECTIVE = Objective(beta=0.05, smooth_l1_beta=0.5, mix="pooled")
SHARE = 0.3
# Tolerance between the fp32 scores of both: they differ only in the order of sums.
TOLERANCE = 1e-4
# Bytes per padded frame of the plain step on a CPU (bf16 measured, fp32 twice that); too large steps are left out.
PLAIN_BYTES = {"bf16": 130e3, "fp32": 260e3}
PARTS = ("step", "validation", "partners", "loading")


@dataclass(frozen=True, kw_only=True)
class Case:
    """One measurement: `part` is step or validation, `side` ours or plain."""

    part: str
    side: str
    precision: str
    device: str
    threads: int
    batch: int
    frames: int
    spread: float


@dataclass(frozen=True)
class Measured:
    """Seconds, seconds of CPU, peak memory in GB (of the process, or of the GPU), and the scores or the loss."""

    seconds: float
    cpu: float
    peak: float
    values: np.ndarray


def main() -> None:
    """Measure and print."""
    options, figures = _options()
    device = choose_device(options.device)
    ours = choose_precision(options.precision, device, width=SIZES.attended)
    where = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU (no GPU was measured)"
    print(f"{where}, {options.threads} threads, ours trains in {ours}, load {os.getloadavg()[0]:.1f}", flush=True)
    if "step" in options.only:
        _measure_step(ours, options, figures)
    if "validation" in options.only:
        _measure_validation(options, figures)
    if "partners" in options.only:
        measure_partners(options.repeats, figures)
    if "loading" in options.only:
        with tempfile.TemporaryDirectory(dir=options.folder) as name:
            measure_loading(
                Path(name),
                songs=options.songs,
                frames=options.frames,
                device=options.device,
                repeats=options.repeats,
                figures=figures,
            )


def _options() -> tuple[argparse.Namespace, Figures]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, help="what to measure (default: all)")
    parser.add_argument("--repeats", type=int, default=3, help="repeats; the slowest way runs once (default: 3)")
    parser.add_argument("--batch", type=int, default=8, help="anchors per batch, with as many partners (default: 8)")
    parser.add_argument("--frames", type=int, default=5_250, help="mean number of frames per song (default: 5250)")
    parser.add_argument("--spread", type=float, default=0.2, help="relative spread of the lengths (default: 0.2)")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--precision", default="auto", help="precision of ours: auto, fp32 or bf16")
    parser.add_argument("--threads", type=int, default=count_cores(), help="CPU threads")
    parser.add_argument("--songs", type=int, default=40, help="songs to load, two files of 43 MB each (default: 40)")
    parser.add_argument("--folder", type=Path, help="folder for that store (default: the folder for temporary files)")
    return Figures.parse(parser)


def _measure_step(ours: str, options: argparse.Namespace, figures: Figures) -> None:
    """The reference is bf16, as in the published training; plain fp32 is printed if it fits into memory."""
    found = _compare("step", [("ours", ours), ("plain", "bf16"), ("plain", "fp32")], options)
    for way, results in found.items():
        print(f"step: loss, {way[0]} {way[1]}: {results[0].values[0]:.4f}")  # dropout is drawn for other shapes
    on_gpu = choose_device(options.device).type == "cuda"
    for name, here in (("2 cores" if options.threads == 2 else "CPU", not on_gpu), ("GPU", on_gpu)):
        title, goal = f"head: training step, {name}, published / ours", 3.0
        if not here:
            figures.skip(title, "measured on a GPU" if on_gpu else "no GPU", "×", least=goal)
        elif ("plain", "bf16") not in found:
            figures.skip(title, "not enough free memory for the published step", "×", least=goal)
        else:
            ratios = _ratios(found[("plain", "bf16")], found[("ours", ours)])
            figures.add(title, ratios["seconds"], "×", least=goal)
            figures.add(f"head: training step, {name}, peak memory, published / ours", ratios["peak"], "×", least=2.0)


def _measure_validation(options: argparse.Namespace, figures: Figures) -> None:
    """The fair reference is fp32: scores in bf16 are some 0.03 off."""
    found = _compare("validation", [("ours", "fp32"), ("plain", "fp32"), ("plain", "bf16")], options)
    plain, ours = found[("plain", "fp32")], found[("ours", "fp32")]
    figures.add("head: validation, published / ours, fp32", _ratios(plain, ours)["seconds"], "×", least=1.0)
    gap = float(np.abs(plain[0].values - ours[0].values).max())
    figures.add("head: validation, largest difference of a score, fp32", gap, most=TOLERANCE)


def _compare(
    part: str, ways: list[tuple[str, str]], options: argparse.Namespace
) -> dict[tuple[str, str], list[Measured]]:
    """Alternate the ways (the last runs once); print each, and the ratios of medians to ours."""
    shared = {name: getattr(options, name) for name in ("device", "threads", "batch", "frames", "spread")}
    found: dict[tuple[str, str], list[Measured]] = {}
    for repeat in range(options.repeats):
        for way in ways if repeat == 0 else ways[:-1]:
            case = Case(part=part, side=way[0], precision=way[1], **shared)
            if not _fits(case):
                print(f"{part}: {way[0]:5} {way[1]}: not measured: not enough free memory; use a smaller --batch")
                continue
            result = _in_own_process(case)
            found.setdefault(way, []).append(result)
            print(
                f"{part}: {way[0]:5} {way[1]}: {result.seconds:6.2f} s, {result.cpu:6.1f} s of CPU, "
                f"peak {result.peak:.1f} GB, load {os.getloadavg()[0]:.1f}",
                flush=True,
            )
    for way in (way for way in ways[1:] if way in found):
        ratios = _ratios(found[way], found[ways[0]])
        print(
            f"{part}: plain {way[1]} / ours {ways[0][1]}: time {ratios['seconds']:.2f}, CPU time {ratios['cpu']:.2f}, "
            f"peak memory {ratios['peak']:.2f}",
            flush=True,
        )
    return found


def _ratios(plain: list[Measured], ours: list[Measured]) -> dict[str, float]:
    return {what: _median(plain, what) / _median(ours, what) for what in ("seconds", "cpu", "peak")}


def _median(results: list[Measured], what: str) -> float:
    return statistics.median(getattr(result, what) for result in results)


def _fits(case: Case) -> bool:
    """Whether the plain step fits into free memory, if Linux reports it."""
    meminfo = Path("/proc/meminfo")
    if case.part != "step" or case.side != "plain" or choose_device(case.device).type == "cuda" or not meminfo.exists():
        return True
    free = next(int(line.split()[1]) * 1024 for line in meminfo.read_text().splitlines() if "MemAvailable" in line)
    return 2 * case.batch * case.frames * (1 + case.spread) * PLAIN_BYTES[case.precision] < free


def _in_own_process(case: Case) -> Measured:
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_measure, case).result()


def _measure(case: Case) -> Measured:
    """Warm up on short songs, then measure; on a GPU, measure the second of two whole runs."""
    torch.set_num_threads(case.threads)
    device = choose_device(case.device)
    torch.manual_seed(0)
    songs = _songs(case)
    model = _model(case.side).to(device)
    work = {"step": _step, "validation": _validation}[case.part]
    work(model, [song[:300] for song in songs], case, device)()
    run = work(model, songs, case, device)
    del songs
    if device.type == "cuda":
        run()
        torch.cuda.reset_peak_memory_stats(device)
        torch.cuda.synchronize(device)
    begun, busy = time.perf_counter(), time.process_time()
    values = run().float().cpu().numpy()
    seconds, cpu = time.perf_counter() - begun, time.process_time() - busy
    return Measured(seconds, cpu, peak_gigabytes(device), values)


def _model(side: str) -> HearHead | PlainHead:
    """Both sides have the same weights."""
    plain = PlainHead(SIZES)
    if side == "plain":
        return plain
    ours = HearHead(SIZES)
    ours.load_state_dict(from_published(plain.state_dict(), SIZES))
    return ours


def _songs(case: Case) -> list[Tensor]:
    """The batch, each float16 (T, F); T is a multiple of the stride: the published model leaks padding otherwise."""
    generator = np.random.default_rng(0)
    count = 2 * case.batch if case.part == "step" else case.batch
    lengths = generator.permutation(np.linspace(1 - case.spread, 1 + case.spread, count)) * case.frames
    noise = torch.randn(max(1, int(lengths.max())), SIZES.features).half()
    return [noise[: int(length) // SIZES.stride * SIZES.stride].roll(k, 1) for k, length in enumerate(lengths)]


def _step(model: HearHead | PlainHead, songs: list[Tensor], case: Case, device: torch.device) -> Callable[[], Tensor]:
    """Forward, backward, clip and Adam; the returned function gives the loss."""
    targets = 1 + 4 * np.random.default_rng(1).random((case.batch, SIZES.classes), np.float32)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-5, weight_decay=1e-3)
    model.train()
    loss = (_our_loss if isinstance(model, PackedModel) else _plain_loss)(model, songs, targets, device)

    def run() -> Tensor:
        with autocast(device, case.precision):
            value = loss()
        value.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return value.detach()[None]

    return run


def _our_loss(
    model: PackedModel, songs: list[Tensor], targets: np.ndarray, device: torch.device
) -> Callable[[], Tensor]:
    packed = Packed(torch.cat(songs), [len(song) // SIZES.stride for song in songs])
    batch = PlannedBatch((), len(targets), targets, SHARE)
    return lambda: batch_loss(model, packed, batch, OBJECTIVE, generator=torch.Generator().manual_seed(0))[0]


def _plain_loss(
    model: PlainHead, songs: list[Tensor], targets: np.ndarray, device: torch.device
) -> Callable[[], Tensor]:
    halves = [_padded(songs[: len(targets)]), _padded(songs[len(targets) :])]

    def loss() -> Tensor:
        anchors, partners = (model.pool(frames.to(device), valid.to(device)) for frames, valid in halves)
        scores = model.rate(SHARE * anchors + (1 - SHARE) * partners)
        target = torch.from_numpy(targets).to(device)
        generator = torch.Generator().manual_seed(0)
        return hybrid_loss(
            scores, target, beta=OBJECTIVE.beta, smooth_l1_beta=OBJECTIVE.smooth_l1_beta, generator=generator
        )[0]

    return loss


def _validation(
    model: HearHead | PlainHead, songs: list[Tensor], case: Case, device: torch.device
) -> Callable[[], Tensor]:
    """Score a batch: ours song by song, as in validation; the plain way all at once, padded."""
    model.eval()
    if isinstance(model, PackedModel):
        packed = [Packed(song.float(), [len(song) // SIZES.stride]) for song in songs]
        return lambda: torch.from_numpy(np.concatenate([score_packed(model, song) for song in packed]))
    frames, valid = _padded(songs)

    def run() -> Tensor:
        with torch.inference_mode(), autocast(device, case.precision):
            return model.rate(model.pool(frames.to(device), valid.to(device)))

    return run


def _padded(songs: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Songs (T, F) → (B, longest T, F) float32, and bool (B, T), True where real."""
    frames = nn.utils.rnn.pad_sequence([song.float() for song in songs], batch_first=True)
    lengths = torch.tensor([len(song) for song in songs])
    return frames, torch.arange(frames.shape[1]) < lengths[:, None]


if __name__ == "__main__":
    main()
