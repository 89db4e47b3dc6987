"""How far apart two sets of songs are, as distributions of their vectors, per stream.

KAD, the kernel audio distance (Chung et al. 2025, arXiv 2502.15602): 100 times the unbiased estimate of the squared
maximum mean discrepancy (Gretton et al. 2012) with a Gaussian kernel, whose bandwidth is the median distance within the
reference, as in the authors' toolkit. FAD, the Fréchet audio distance (Kilgour et al. 2019): the Fréchet distance of
two normal distributions. Songs are often fewer than channels, so covariances are shrunk (Ledoit and Wolf 2004).
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.metrics.unpaired import NORMAL_95
from stages.similarity.errors import SimilarityError
from stages.similarity.vectors import SongVectors, check_comparable, read_vectors
from store import EmbeddingStore
from store.files.visible import visible
from store.progress import Progress

# The factor of the authors' toolkit, for readable numbers.
KAD_SCALE = 100.0
# Rows of a kernel matrix in memory at a time, and songs that the median distance is taken over.
BLOCK, MOST_FOR_MEDIAN = 512, 2_000
LEAST_SONGS = 4
CAUTION = (
    "Values depend on the encoder and on the number of songs: compare only values of one stream and of similar counts. "
    "Listeners often disagree with both distances, which say that two sets differ, not which is better."
)
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Distance:
    """Distances of one stream between a reference and other songs; `low` and `high`: the 95 % interval of `kad`."""

    reference: str
    other: str
    stream: str
    kad: float
    low: float
    high: float
    fad: float
    songs: tuple[int, int]


@dataclass(frozen=True)
class DistanceReport:
    """Distances of all pairs of sets and all streams."""

    distances: tuple[Distance, ...]

    def to_text(self) -> str:
        """A table for each pair of sets, and the caution."""
        lines: list[str] = []
        shown: tuple[str, str] | None = None
        for one in self.distances:
            if (one.reference, one.other) != shown:
                shown = (one.reference, one.other)
                sets = f"{visible(one.reference)} ({one.songs[0]} songs) and {visible(one.other)} ({one.songs[1]})"
                lines += ["", sets, f"{'stream':24} {'KAD':>8}  {'95 % interval':20} {'FAD':>9}"]
            interval = f"[{one.low:.3f}, {one.high:.3f}]"
            lines.append(f"{visible(one.stream):24} {one.kad:8.3f}  {interval:20} {one.fad:9.3f}")
        return "\n".join([*lines[1:], "", CAUTION])

    def to_json(self) -> dict[str, Any]:
        """Distances and the caution as JSON values."""
        return {"distances": [asdict(one) for one in self.distances], "caution": CAUTION}


def store_distances(
    reference: EmbeddingStore,
    other: EmbeddingStore,
    *,
    streams: Sequence[str] | None = None,
    progress: Progress = iter,
) -> DistanceReport:
    """Distances between the songs of two stores, by their clean views.

    Raises
    ------
    SimilarityError
        The stores have different encoders or streams, or one has fewer than four songs.
    StoreError
        A record is damaged, or there is no such stream.
    """
    check_comparable(reference, other, streams)
    first, second = (read_vectors(one, streams=streams, progress=progress) for one in (reference, other))
    for store, vectors in ((reference, first), (other, second)):
        if len(vectors.songs) < LEAST_SONGS:
            raise SimilarityError(f"{store.root}: expected at least {LEAST_SONGS} songs, found {len(vectors.songs)}")
    names = streams or reference.streams
    bandwidths = [median_distance(one) for one in _per_stream(first)]
    return DistanceReport(tuple(_distances((reference.root, first), (other.root, second), names, bandwidths)))


def group_distances(
    store: EmbeddingStore,
    groups: dict[str, str],
    *,
    streams: Sequence[str] | None = None,
    progress: Progress = iter,
) -> DistanceReport:
    """Distances between all pairs of groups of a store's songs; the bandwidth is that of all their songs.

    Parameters
    ----------
    groups
        Song → group; other songs are left out, as are groups of fewer than four songs.

    Raises
    ------
    SimilarityError
        Fewer than two groups have four songs.
    StoreError
        A record is damaged, or there is no such stream.
    """
    songs = read_vectors(store, streams=streams, progress=progress)
    places: dict[str, list[int]] = {}
    for place, song in enumerate(songs.songs):
        if song in groups:
            places.setdefault(groups[song], []).append(place)
    large = sorted(name for name, members in places.items() if len(members) >= LEAST_SONGS)
    if len(large) < 2:
        counts = ", ".join(f"{visible(name)}: {len(members)}" for name, members in sorted(places.items())[:10])
        raise SimilarityError(
            f"{store.root}: expected two groups of at least {LEAST_SONGS} songs, found {counts or 'none'}"
        )
    sets = {name: songs.take(places[name]) for name in large}
    everyone = songs.take([place for name in large for place in places[name]])
    bandwidths = [median_distance(one) for one in _per_stream(everyone)]
    names = streams or store.streams
    pairs = combinations(sets.items(), 2)
    return DistanceReport(tuple(one for a, b in pairs for one in _distances(a, b, names, bandwidths)))


def _per_stream(songs: SongVectors) -> Iterator[Floats]:
    return (songs.values[:, stream].astype(np.float64) for stream in range(songs.values.shape[1]))


def _distances(
    reference: tuple[str, SongVectors],
    other: tuple[str, SongVectors],
    streams: Sequence[str],
    bandwidths: Sequence[float],
) -> Iterator[Distance]:
    (name, first), (other_name, second) = reference, other
    counts = len(first.songs), len(second.songs)
    for stream, a, b, width in zip(streams, _per_stream(first), _per_stream(second), bandwidths, strict=True):
        kad, low, high = kernel_distance(a, b, bandwidth=width)
        yield Distance(name, other_name, stream, kad, low, high, frechet_distance(a, b), counts)


def median_distance(songs: Floats) -> float:
    """Median Euclidean distance between two songs (N, C); of at most 2,000 songs, evenly spaced."""
    kept = songs[:: -(-len(songs) // MOST_FOR_MEDIAN)]
    distances = np.sqrt(_squared_distances(kept, kept))
    return float(np.median(distances[np.triu_indices(len(kept), 1)]))


def _squared_distances(a: Floats, b: Floats) -> Floats:
    squares: Floats = np.square(a).sum(axis=1)[:, None] + np.square(b).sum(axis=1) - 2 * a @ b.T
    np.maximum(squares, 0, out=squares)  # rounding may give less
    return squares


def kernel_distance(reference: Floats, other: Floats, *, bandwidth: float) -> tuple[float, float, float]:
    """KAD of two sets of songs (N, C) and (M, C), N and M ≥ 3, and its 95 % interval.

    The interval is from the jackknife over songs, with a normal distribution. KAD is unbiased, so sets of one
    distribution give values around 0, also negative ones; there the interval is only a rough guide.
    """
    centre = reference.mean(axis=0)  # differences of large numbers would lose digits
    x, y = reference - centre, other - centre
    gamma = 1 / (2 * bandwidth**2) if bandwidth > 0 else 0.0
    n, m = len(x), len(y)
    within_x, within_y = _row_sums(x, x, gamma)[0] - 1, _row_sums(y, y, gamma)[0] - 1  # without k(x, x) = 1
    across_x, across_y = _row_sums(x, y, gamma)
    total_x, total_y, across = within_x.sum(), within_y.sum(), across_x.sum()
    mean_x, mean_y = total_x / (n * (n - 1)), total_y / (m * (m - 1))
    value = mean_x + mean_y - 2 * across / (n * m)
    without_x = (total_x - 2 * within_x) / ((n - 1) * (n - 2)) + mean_y - 2 * (across - across_x) / ((n - 1) * m)
    without_y = mean_x + (total_y - 2 * within_y) / ((m - 1) * (m - 2)) - 2 * (across - across_y) / (n * (m - 1))
    variance = (n - 1) * without_x.var() + (m - 1) * without_y.var()
    reach = NORMAL_95 * float(np.sqrt(variance))
    return KAD_SCALE * float(value), KAD_SCALE * (float(value) - reach), KAD_SCALE * (float(value) + reach)


def _row_sums(a: Floats, b: Floats, gamma: float) -> tuple[Floats, Floats]:
    """Sums of the kernel matrix (N, M) over its columns and over its rows, block by block."""
    rows, columns = np.empty(len(a)), np.zeros(len(b))
    for start in range(0, len(a), BLOCK):
        kernel = np.exp(-gamma * _squared_distances(a[start : start + BLOCK], b))
        rows[start : start + BLOCK] = kernel.sum(axis=1)
        columns += kernel.sum(axis=0)
    return rows, columns


def frechet_distance(reference: Floats, other: Floats) -> float:
    """FAD of two sets of songs (N, C) and (M, C): ‖μ₁ − μ₂‖² + tr(Σ₁ + Σ₂ − 2 (Σ₁ Σ₂)^½), with shrunk covariances."""
    from sklearn.covariance import ledoit_wolf

    first, second = ledoit_wolf(reference)[0], ledoit_wolf(other)[0]
    values, vectors = np.linalg.eigh(first)
    root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    # The eigenvalues of root Σ₂ root are those of Σ₁ Σ₂.
    product = np.sqrt(np.maximum(np.linalg.eigvalsh(root @ second @ root), 0)).sum()
    means = np.square(reference.mean(axis=0) - other.mean(axis=0)).sum()
    return max(0.0, float(means + np.trace(first) + np.trace(second) - 2 * product))  # rounding may give less
