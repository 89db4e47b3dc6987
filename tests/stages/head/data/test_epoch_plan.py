"""The plan of an epoch: every number, recomputed from the plan's records."""

from collections import Counter
from collections.abc import Iterable

import numpy as np
import pytest
from numpy.typing import NDArray

from stages.head.config import TrainConfig
from stages.head.data.corpus import Corpus
from stages.head.data.epoch_plan import Item, PlannedBatch, plan_epoch

VIEWS = ((0, 2, 5), (0,), (0, 3), (0, 1))


def make_corpus(count: int) -> Corpus:
    """Songs rated differently in both dimensions, with one to three views, numbered with gaps."""
    songs = tuple(f"söng {number}" for number in range(count))
    labels = np.random.default_rng(0).uniform(1, 5, (count, 2)).astype(np.float32)
    return Corpus(songs, ("system",) * count, labels, tuple(VIEWS[number % len(VIEWS)] for number in range(count)))


@pytest.fixture
def corpus() -> Corpus:
    return make_corpus(12)


def labels_of(corpus: Corpus, items: Iterable[Item]) -> NDArray[np.float32]:
    return np.array([corpus.ratings[corpus.songs.index(item.song)] for item in items])


def halves(batch: PlannedBatch) -> tuple[tuple[Item, ...], tuple[Item, ...]]:
    return batch.items[: batch.anchors], batch.items[batch.anchors :]


def epochs(corpus: Corpus, config: TrainConfig, count: int) -> list[PlannedBatch]:
    return [batch for epoch in range(count) for batch in plan_epoch(corpus, config, epoch=epoch)]


@pytest.mark.parametrize("mix", ["pooled", "frames"])
def test_targets_are_mixed_with_the_batchs_share(corpus: Corpus, mix: str) -> None:
    for batch in epochs(corpus, TrainConfig(batch_size=5, mix=mix), 3):
        anchors, partners = halves(batch)
        mixed = batch.share * labels_of(corpus, anchors) + (1 - batch.share) * labels_of(corpus, partners)
        assert batch.targets.dtype == np.float32
        np.testing.assert_allclose(batch.targets, mixed, rtol=1e-6)


def test_no_partner_is_the_same_song(corpus: Corpus) -> None:
    for batch in epochs(corpus, TrainConfig(batch_size=5), 30):
        anchors, partners = halves(batch)
        assert all(one.song != other.song for one, other in zip(anchors, partners, strict=True))


@pytest.mark.parametrize("alpha", [2.0, 0.5])
def test_shares_are_drawn_from_beta_once_a_batch(alpha: float) -> None:
    shares = np.array([batch.share for batch in epochs(make_corpus(400), TrainConfig(batch_size=2, alpha=alpha), 10)])
    assert len(np.unique(shares)) == len(shares) == 4000
    assert shares.mean() == pytest.approx(1 / 2, abs=0.02)
    assert shares.var() == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.06)


def test_every_record_is_an_anchor_once_per_epoch_in_a_new_order(corpus: Corpus) -> None:
    orders = []
    for epoch in range(2):
        batches = plan_epoch(corpus, TrainConfig(batch_size=5), epoch=epoch)
        assert [batch.anchors for batch in batches] == [5, 5, 5, 5, 4]
        orders.append([(item.song, item.view) for batch in batches for item in halves(batch)[0]])
        assert sorted(orders[-1]) == sorted(corpus.records())
    assert orders[0] != orders[1]


def test_partners_have_all_their_views_and_no_others(corpus: Corpus) -> None:
    partners = [item for batch in epochs(corpus, TrainConfig(), 40) for item in halves(batch)[1]]
    assert {(item.song, item.view) for item in partners} == set(corpus.records())


def test_with_a_tiny_sigma_the_partner_is_the_song_rated_nearest(corpus: Corpus) -> None:
    distance = np.linalg.norm(corpus.ratings[:, None] - corpus.ratings[None], axis=2) + 100 * np.eye(12)
    nearest = {song: corpus.songs[row.argmin()] for song, row in zip(corpus.songs, distance, strict=True)}
    for batch in epochs(corpus, TrainConfig(sigma=1e-3), 2):
        anchors, partners = halves(batch)
        assert [item.song for item in partners] == [nearest[item.song] for item in anchors]


def test_views_are_drawn_uniformly_in_each_epoch(corpus: Corpus) -> None:
    seen: Counter[tuple[str, int]] = Counter()
    for epoch in range(600):
        batches = plan_epoch(corpus, TrainConfig(views_per_epoch=1, mix="none"), epoch=epoch)
        anchors = [item for batch in batches for item in batch.items]
        assert sorted(item.song for item in anchors) == sorted(corpus.songs)
        seen.update((item.song, item.view) for item in anchors)
    for song, views in zip(corpus.songs, corpus.views, strict=True):
        assert [seen[song, view] / 600 for view in views] == pytest.approx([1 / len(views)] * len(views), abs=0.08)
    assert set(seen) == set(corpus.records())


def test_two_views_per_epoch_are_different(corpus: Corpus) -> None:
    for epoch in range(20):
        batches = plan_epoch(corpus, TrainConfig(views_per_epoch=2, mix="none"), epoch=epoch)
        anchors = [(item.song, item.view) for batch in batches for item in batch.items]
        assert len(set(anchors)) == len(anchors) == sum(min(2, len(views)) for views in corpus.views)


def test_crops_of_anchors_and_partners_have_random_places_in_each_epoch(corpus: Corpus) -> None:
    batches = epochs(corpus, TrainConfig(), 50)
    for side in (0, 1):
        places = np.array([item.place for batch in batches for item in halves(batch)[side]])
        assert len(np.unique(places)) == len(places) == 50 * 24
        assert places.min() >= 0
        assert places.max() < 1
        np.testing.assert_allclose(np.histogram(places, bins=4, range=(0, 1))[0] / len(places), 0.25, atol=0.05)
    first = [halves(batch)[0][0].place for batch in batches]
    assert not set(first) & {halves(batch)[1][0].place for batch in batches}


@pytest.mark.parametrize(("count", "mix"), [(12, "none"), (1, "pooled")])
def test_frames_are_unchanged_without_mixing(count: int, mix: str) -> None:
    corpus = make_corpus(count)
    for batch in plan_epoch(corpus, TrainConfig(mix=mix), epoch=0):
        assert len(batch.items) == batch.anchors
        assert batch.share == 1.0
        np.testing.assert_array_equal(batch.targets, labels_of(corpus, batch.items))


def test_a_plan_depends_on_seed_and_epoch_alone(corpus: Corpus) -> None:
    def listed(seed: int, epoch: int) -> list[tuple[tuple[Item, ...], float]]:
        return [(batch.items, batch.share) for batch in plan_epoch(corpus, TrainConfig(seed=seed), epoch=epoch)]

    assert listed(0, 1) == listed(0, 1)
    assert listed(0, 1) != listed(0, 0)
    assert listed(0, 1) != listed(1, 1)
