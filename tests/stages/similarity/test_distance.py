"""KAD and FAD against plain loops and closed forms."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from stages.similarity import distance
from stages.similarity.distance import (
    Floats,
    frechet_distance,
    group_distances,
    kernel_distance,
    median_distance,
    store_distances,
)
from stages.similarity.errors import SimilarityError
from store import EmbeddingStore

Write = Callable[..., EmbeddingStore]


def normal(songs: int, channels: int, *, mean: float = 0.0, std: float = 1.0, seed: int = 0) -> Floats:
    return np.random.default_rng(seed).normal(mean, std, (songs, channels))


def plain_kad(x: Floats, y: Floats, bandwidth: float) -> float:
    def mean(a: Floats, b: Floats, *, same: bool) -> float:
        values = [
            np.exp(-np.square(one - other).sum() / (2 * bandwidth**2))
            for i, one in enumerate(a)
            for j, other in enumerate(b)
            if not (same and i == j)
        ]
        return float(np.mean(values))

    return 100 * (mean(x, x, same=True) + mean(y, y, same=True) - 2 * mean(x, y, same=False))


def test_kad_and_its_jackknife_are_those_of_plain_loops(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distance, "BLOCK", 4)
    x, y = 100 + normal(9, 3), 100 + normal(7, 3, mean=1, seed=1)
    pairs = [np.linalg.norm(x[i] - x[j]) for i in range(9) for j in range(i)]
    width = median_distance(x)
    assert width == pytest.approx(np.median(pairs))
    value, low, high = kernel_distance(x, y, bandwidth=width)
    assert value == pytest.approx(plain_kad(x, y, width))
    without_x = [plain_kad(np.delete(x, place, axis=0), y, width) for place in range(9)]
    without_y = [plain_kad(x, np.delete(y, place, axis=0), width) for place in range(7)]
    reach = 1.959964 * np.sqrt(8 * np.var(without_x) + 6 * np.var(without_y))
    assert (low, high) == pytest.approx((value - reach, value + reach))


@pytest.mark.parametrize("mean", [0.0, 0.5])
def test_kad_of_normal_songs_is_near_its_closed_form(mean: float) -> None:
    """The expected kernel of two normal variables is (h/(h + 2))^(d/2) exp(−|μ|²/(2 (h + 2))), with h = bandwidth²."""
    channels, h = 3, 4.0
    factor = (h / (h + 2)) ** (channels / 2)
    expected = 100 * 2 * factor * (1 - np.exp(-channels * mean**2 / (2 * (h + 2))))
    _, low, high = kernel_distance(normal(1500, channels), normal(1200, channels, mean=mean, seed=1), bandwidth=2.0)
    assert low < expected < high
    assert high - low < 3


def test_fad_of_normal_songs_is_near_its_closed_form() -> None:
    x, y = normal(4000, 6), normal(4000, 6, mean=1, std=2, seed=1)
    assert frechet_distance(x, y) == pytest.approx(6 * (1 + 1), rel=0.05)
    # A rotation of the reference and of the other songs alike changes nothing.
    turn = np.linalg.qr(normal(6, 6, seed=2))[0]
    assert frechet_distance(x @ turn, y @ turn) == pytest.approx(frechet_distance(x, y))


def test_fad_of_fewer_songs_than_channels_is_finite_and_0_for_equal_sets() -> None:
    x = normal(10, 50)
    assert frechet_distance(x, x) == pytest.approx(0, abs=1e-6)
    assert 50 < frechet_distance(x, x + 1.2) < 80  # the means differ by 50 · 1.2² = 72, the covariances do not


@pytest.fixture(scope="module")
def two(write_store: Write, tmp_path_factory: pytest.TempPathFactory) -> tuple[EmbeddingStore, EmbeddingStore]:
    folder = tmp_path_factory.mktemp("distance")
    far = np.array([[0.0], [3.0]])  # only the second stream differs
    return (
        write_store(folder / "a.zarr", {(f"{n}", 0): normal(2, 4, seed=n) for n in range(20)}),
        write_store(folder / "b.zarr", {(f"{n}", 0): normal(2, 4, seed=100 + n) + far for n in range(15)}),
    )


def test_streams_that_differ_are_far_apart(two: tuple[EmbeddingStore, EmbeddingStore]) -> None:
    report = store_distances(*two)
    near, far = report.distances
    assert (near.stream, far.stream, near.songs) == ("musicfm/track", "muq/track", (20, 15))
    assert near.low < 0 < near.high
    assert far.low > near.high
    assert far.fad > 4 * near.fad
    assert "Listeners often disagree with both" in report.to_text()
    (alone,) = store_distances(*two, streams=["muq/track"]).distances
    assert alone == far


def test_groups_of_one_store_share_a_bandwidth(two: tuple[EmbeddingStore, EmbeddingStore]) -> None:
    groups = {f"{n}": "abc"[n % 3] for n in range(18)} | {"18": "d"}
    report = group_distances(two[0], groups)
    assert [(one.reference, one.other) for one in report.distances[::2]] == [("a", "b"), ("a", "c"), ("b", "c")]
    swapped = group_distances(two[0], {song: {"a": "z"}.get(name, name) for song, name in groups.items()})
    assert swapped.distances[2].kad == pytest.approx(report.distances[0].kad)  # (b, z) instead of (a, b)
    with pytest.raises(SimilarityError, match="expected two groups of at least 4 songs, found a: 19"):
        group_distances(two[0], dict.fromkeys(map(str, range(19)), "a"))


def test_stores_that_cannot_be_compared_are_refused(
    two: tuple[EmbeddingStore, EmbeddingStore], write_store: Write, tmp_path: Path
) -> None:
    songs = {(f"{n}", 0): normal(2, 4, seed=n) for n in range(3)}
    with pytest.raises(SimilarityError, match=r"few\.zarr: expected at least 4 songs, found 3"):
        store_distances(two[0], write_store(tmp_path / "few.zarr", songs))
    other = write_store(tmp_path / "other.zarr", songs, encoder="sha256:b")
    with pytest.raises(SimilarityError, match=r"other\.zarr: cannot be compared with .*a\.zarr: expected encoders"):
        store_distances(two[0], other)
