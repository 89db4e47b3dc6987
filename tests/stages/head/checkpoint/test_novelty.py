"""Novelty separates songs of another kind from new songs of the same kind."""

from pathlib import Path

import numpy as np
import pytest

from stages.head.checkpoint.novelty import (
    NOVELTY,
    Novelty,
    fit_novelty,
    learn_novelty,
    load_novelty,
    save_novelty,
    song_vector,
)
from stages.head.errors import HeadError
from store import EmbeddingStore, Spec, StoreWriter

FEATURES = 400


def songs(count: int, *, seed: int) -> np.ndarray:
    """Vectors that vary in ten directions, with different scales, and a little in all."""
    mixing = np.random.default_rng(99).standard_normal((10, FEATURES))
    generator = np.random.default_rng(seed)
    values = generator.standard_normal((count, 10)) @ mixing + 0.3 * generator.standard_normal((count, FEATURES))
    return (values * np.geomspace(0.1, 10, FEATURES) + 5).astype(np.float32)


def test_new_songs_of_the_same_kind_pass_and_others_do_not() -> None:
    novelty = fit_novelty(songs(200, seed=0))
    assert novelty is not None
    assert (novelty.ratio(songs(300, seed=1)) > 1).mean() < 0.05
    noise = np.random.default_rng(2).standard_normal((50, FEATURES)) * np.geomspace(0.1, 10, FEATURES) * 3 + 5
    assert (novelty.ratio(noise.astype(np.float32)) > 1.2).all()
    assert (novelty.ratio(5 * (songs(50, seed=3) - 5) + 5) > 1.2).all()


def test_a_constant_feature_and_few_songs_do_not_break_it() -> None:
    vectors = songs(12, seed=0)
    vectors[:, 3] = 7
    novelty = fit_novelty(vectors)
    assert novelty is not None
    assert np.isfinite(novelty.ratio(songs(5, seed=1))).all()
    assert fit_novelty(vectors[:9]) is None


def test_with_all_directions_the_distance_is_mahalanobis() -> None:
    vectors = np.random.default_rng(0).standard_normal((400, 6)).astype(np.float32) * 3 + 1
    novelty = fit_novelty(vectors)
    assert novelty is not None
    centred = (vectors - vectors.mean(0)).astype(np.float64)
    expected = np.sqrt(np.einsum("nf,fg,ng->n", centred, np.linalg.inv(np.cov(centred.T)), centred))
    found = novelty.ratio(vectors) * novelty.threshold
    np.testing.assert_allclose(found, expected, rtol=5e-3)


def test_it_describes_view_0_and_is_saved(tmp_path: Path) -> None:
    spec = Spec(streams=("muq/segment", "muq/track"), channels=3, encoders={"muq": "sha256:aa"}, layers=(10,))
    writer = StoreWriter.open(tmp_path / "store.zarr", spec)
    generator = np.random.default_rng(0)
    names = [f"song {number}" for number in range(12)]
    for name in names:
        writer.write(name, 0, generator.standard_normal((2, 40, 3)).astype(np.float32), attributes={})
        writer.write(name, 1, np.full((2, 40, 3), 1e4, np.float32), attributes={})
    store = EmbeddingStore.open(tmp_path / "store.zarr")
    assert learn_novelty(tmp_path, store, names, ("muq/track",))
    novelty = load_novelty(tmp_path)
    assert isinstance(novelty, Novelty)
    assert novelty.mean.shape == (6,)
    assert abs(novelty.mean).max() < 2
    frames = store.read(names[0], 0, streams=("muq/track",))
    again = fit_novelty(np.stack([song_vector(store.read(name, 0, streams=("muq/track",))) for name in sorted(names)]))
    assert again is not None
    assert novelty.of_song(frames) == pytest.approx(again.of_song(frames), rel=1e-6)
    assert not learn_novelty(tmp_path, store, names[:4], ("muq/track",))
    assert load_novelty(tmp_path) is None


def test_a_broken_file_is_named(tmp_path: Path) -> None:
    novelty = fit_novelty(songs(20, seed=0))
    assert novelty is not None
    save_novelty(tmp_path, novelty)
    (tmp_path / NOVELTY).write_bytes((tmp_path / NOVELTY).read_bytes()[:100])
    with pytest.raises(HeadError, match=r"novelty\.safetensors: cannot be read"):
        load_novelty(tmp_path)
