"""C-Mixup partners of 19,791 rows (2,199 songs with nine views): ours, and the published table of all pairs."""

import statistics
import time
import tracemalloc
from collections.abc import Callable

import numpy as np

from benchmarks.figures import Figures
from stages.head.data.cmixup import draw_partners

SONGS, VIEWS = 2_199, 9


def measure_partners(repeats: int, figures: Figures) -> None:
    """Time one epoch's draws in our way, and from a table that is made row by row."""
    generator = np.random.default_rng(0)
    labels = generator.integers(4, 21, (SONGS, 5)).astype(np.float32) / 4
    anchors, views = generator.permutation(np.repeat(np.arange(SONGS), VIEWS)), np.full(SONGS, VIEWS)

    def ours() -> object:
        return draw_partners(anchors, labels, views, sigma=1.0, generator=generator)

    fast = [_wall_and_cpu(ours) for _ in range(max(5, repeats))]
    table, drawing, slow_cpu = _timed_table(labels, generator)
    seconds, cpu = (statistics.median(values) for values in zip(*fast, strict=True))
    tracemalloc.start()
    ours()
    peak = tracemalloc.get_traced_memory()[1] / 1e6
    tracemalloc.stop()
    print(f"partners of {len(anchors):,} rows: ours {seconds:.3f} s, {cpu:.3f} s of CPU, peak {peak:.0f} MB")
    print(f"partners: table row by row {table:.1f} s, a draw from each row {drawing:.1f} s; {slow_cpu:.1f} s of CPU")
    print(f"partners: plain with the draws / ours: {(table + drawing) / seconds:.0f}, CPU time {slow_cpu / cpu:.0f}")
    figures.add("head: C-Mixup partners, N×N table / ours", table / seconds, "×", least=100)
    figures.add("head: C-Mixup partners, peak memory", peak, "MB", most=50)


def _timed_table(labels: np.ndarray, generator: np.random.Generator) -> tuple[float, float, float]:
    """Seconds for the float32 table (1.6 GB), seconds for one draw from each row, and CPU seconds of both."""
    rows, songs = np.repeat(labels, VIEWS, axis=0).astype(np.float64), np.repeat(np.arange(SONGS), VIEWS)
    begun, busy = time.perf_counter(), time.process_time()
    table = np.empty((len(rows), len(rows)), np.float32)
    for number, row in enumerate(rows):
        weights = np.exp(-((rows - row) ** 2).sum(1) / 2)
        weights[songs == songs[number]] = 0
        table[number] = weights / weights.sum()
    made = time.perf_counter()
    for row in table:
        cumulative = np.cumsum(row, dtype=np.float64)
        np.searchsorted(cumulative, generator.random() * cumulative[-1], side="right")
    return made - begun, time.perf_counter() - made, time.process_time() - busy


def _wall_and_cpu(work: Callable[[], object]) -> tuple[float, float]:
    begun, busy = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - begun, time.process_time() - busy
