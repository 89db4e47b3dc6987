"""Features of a probe, with the same results in memory and out of core."""

from pathlib import Path

import dask.array as da
import numpy as np
import pytest

from stages.probe.config import ProbeConfig
from stages.probe.data.features import open_features, parse_limit
from stages.probe.data.streams import stream_columns
from stages.probe.errors import ProbeError
from stages.probe.fit import fit_probe
from stages.probe.report import ProbeReport
from store import EmbeddingStore, cache_summaries

RNG = np.random.default_rng(0)
COUNT = 60
SIGNAL = RNG.normal(size=(COUNT, 6))
SONGS = tuple(f"song {number:03d}" for number in range(COUNT))


def features(root: Path, *, limit: str = "1GB", **asked: object) -> np.ndarray:
    """The rows that a probe of two streams is fitted on."""
    config = ProbeConfig(**{"target": "", "model": "ridge", **asked})  # type: ignore[arg-type]
    store = EmbeddingStore.open(root)
    streams = ("musicfm/segment", "muq/track")
    with open_features(store, SONGS, config, streams=streams, memory_limit=limit) as design:
        assert design.out_of_core == (limit != "1GB")
        assert design.clean.sum() == COUNT
        return np.asarray(design.x)


def expected(root: Path, statistics: tuple[str, ...], views: tuple[int, ...]) -> np.ndarray:
    store = EmbeddingStore.open(root)
    rows = []
    for song in SONGS:
        for view in views:
            frames = store.read(song, view, ["musicfm/segment", "muq/track"]).astype(np.float64)
            rows.append([getattr(of_stream, name)(axis=0) for of_stream in frames for name in statistics])
    return np.array(rows).reshape(len(rows), -1)


@pytest.mark.parametrize(("pooling", "statistics"), [("mean", ("mean",)), ("std", ("std",)), ("both", ("mean", "std"))])
def test_pooling(make_store, pooling: str, statistics: tuple[str, ...]) -> None:
    root = make_store(SIGNAL, views=(0, 1))
    plain = expected(root, statistics, (0,))
    np.testing.assert_allclose(features(root, pooling=pooling), plain, atol=1e-5)
    views = expected(root, statistics, (0, 1))
    np.testing.assert_allclose(features(root, pooling=pooling, augmented=True), views, atol=1e-5)
    # Two streams, 60 songs: 20 to 40 kB; ridge's sums of products alone take 13 to 50.
    asked = {"pooling": pooling, "augmented": True, "model": "logistic"}
    np.testing.assert_array_equal(features(root, limit="10kB", **asked), features(root, **asked))


def test_cached_summaries_give_the_same(make_store) -> None:
    root = make_store(SIGNAL, views=(0, 1))
    plain = features(root)
    cache_summaries(str(root))
    np.testing.assert_array_equal(features(root), plain)


def test_columns_of_streams() -> None:
    np.testing.assert_array_equal(stream_columns(("a", "b", "c"), ("a", "c"), 2), [0, 1, 4, 5])
    lazy = da.zeros((10, 6), chunks=(4, 6))[:, stream_columns(("a", "b", "c"), ("a", "c"), 2)]
    assert lazy.chunks == ((4, 4, 2), (4,))


@pytest.mark.parametrize("model", ["ridge", "logistic"])
def test_the_same_answer_out_of_core(make_store, make_labels, tmp_path: Path, model: str) -> None:
    """180 rows of 24 features count as 121 kB: above 100, so they are read in chunks of seven rows."""
    value = SIGNAL[:, 0] + 0.3 * RNG.normal(size=COUNT)
    store = make_store(SIGNAL, views=(0, 1, 2))
    labels = make_labels(value=value if model == "ridge" else np.where(value > np.median(value), "high", "low"))

    def answer(memory_limit: str) -> ProbeReport:
        config = ProbeConfig(target="value", model=model, augmented=True, draws=20, setting=0.01, cv=3)
        sweep = "streams" if model == "ridge" else None
        out = tmp_path / memory_limit
        return fit_probe(store, config, labels=labels, sweep=sweep, memory_limit=memory_limit, out=out)

    near, far = answer("1GB"), answer("100kB")
    assert (near.out_of_core, far.out_of_core) == (False, True)
    assert near.scores.gain.low > 0
    np.testing.assert_allclose(far.predicted, near.predicted, rtol=1e-6)
    assert {row.name: row.value.value for row in far.sweep} == {
        row.name: pytest.approx(row.value.value) for row in near.sweep
    }
    assert "read out of core" in far.to_text()


@pytest.mark.parametrize(
    ("asked", "limit", "message"),
    [
        (
            {"model": "knn"},
            "20kB",
            "60 rows of 24 features take .* above the memory limit of .* use ridge, logistic",
        ),
        ({"model": "svr"}, "20kB", "svr needs them all at once: use ridge, raise --memory-limit"),
        ({"model": "ridge"}, "20kB", "ridge's sums of products take .*: raise --memory-limit"),
        ({"model": "ridge"}, "much", "memory limit 'much': expected a size such as 4GB"),
        ({"model": "ridge"}, "0", "expected more than 0 bytes"),
    ],
)
def test_features_above_the_memory_limit(make_store, make_labels, asked: dict, limit: str, message: str) -> None:
    with pytest.raises(ProbeError, match=message):
        fit_probe(
            make_store(SIGNAL),
            ProbeConfig(target="value", **asked),
            labels=make_labels(value=SIGNAL[:, 0]),
            memory_limit=limit,
        )


def test_full_disk(make_store, make_labels, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stages.probe.data.features.shutil.disk_usage", lambda path: type("Usage", (), {"free": 100}))
    with pytest.raises(ProbeError, match=r"0\.0 GB are free; free some space, or set TMPDIR"):
        fit_probe(
            make_store(SIGNAL),
            ProbeConfig(target="value", model="logistic"),
            labels=make_labels(value=np.arange(COUNT) % 2),
            memory_limit="20kB",
        )


def test_limits() -> None:
    assert (parse_limit("4GB"), parse_limit("500 MiB")) == (4 * 10**9, 500 * 2**20)
    assert parse_limit("auto") > 2**26
