"""Which records are held, and which views of a partner are drawn because of it."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from stages.head.config import TrainConfig
from stages.head.data.corpus import Corpus
from stages.head.data.epoch_plan import plan_epoch
from stages.head.data.resident import (
    Resident,
    choose_resident,
    held_type,
    in_rounds,
    partner_views,
    resident_gigabytes,
)
from stages.head.data.splits import Data, open_data

VIEWS = ((0, 2, 5), (0,), (0, 3))
ROUNDS = [("a", 0), ("b", 0), ("c", 0), ("a", 2), ("c", 3), ("a", 5)]


@pytest.fixture
def corpus() -> Corpus:
    ratings = np.random.default_rng(0).uniform(1, 5, (3, 2)).astype(np.float32)
    return Corpus(("a", "b", "c"), ("system",) * 3, ratings, VIEWS)


@pytest.fixture
def data(learnable, config: TrainConfig) -> Data:
    return open_data(learnable.store, learnable.manifest, track=2, config=config)


def test_the_first_view_of_every_song_comes_first(corpus: Corpus) -> None:
    assert in_rounds(corpus) == ROUNDS


@pytest.mark.parametrize(
    ("held", "expected"), [(0, [3, 1, 2]), (1, [1, 1, 2]), (3, [1, 1, 1]), (4, [2, 1, 1]), (6, [3, 1, 2])]
)
def test_partners_come_from_the_held_views_of_their_song(corpus: Corpus, held: int, expected: list[int]) -> None:
    views = partner_views(corpus, held)
    assert views.tolist() == expected
    config = TrainConfig(batch_size=3)
    for epoch in range(5):
        usual, drawn = (plan_epoch(corpus, config, epoch=epoch, partner_views=each) for each in (None, views))
        for one, other in zip(usual, drawn, strict=True):
            # The same songs, ratings, shares and crops; only partners' views differ.
            assert [(item.song, item.place) for item in one.items] == [(item.song, item.place) for item in other.items]
            assert one.items[: one.anchors] == other.items[: other.anchors]
            assert one.share == other.share
            np.testing.assert_array_equal(one.targets, other.targets)
            for item in other.items[other.anchors :]:
                song = corpus.songs.index(item.song)
                assert item.view in VIEWS[song][: expected[song]]
        if held in (0, 6):
            assert [batch.items for batch in usual] == [batch.items for batch in drawn]


def test_the_held_views_of_a_partner_are_equally_likely(corpus: Corpus) -> None:
    views, seen = partner_views(corpus, 4), Counter()
    for epoch in range(400):
        for batch in plan_epoch(corpus, TrainConfig(), epoch=epoch, partner_views=views):
            seen.update(item.view for item in batch.items[batch.anchors :] if item.song == "a")
    assert seen.keys() == {0, 2}
    assert seen[0] / seen.total() == pytest.approx(1 / 2, abs=0.05)


@pytest.mark.parametrize("resident", ["stored", "float16", "int8"])
def test_as_many_records_are_held_as_fit_and_then_the_validation_songs(
    data: Data, config: TrainConfig, resident: str
) -> None:
    config = replace(config, resident=resident)
    assert held_type(data, config) == ("int8" if resident == "int8" else "float16")
    values = [data.store.frames(*record) * 16 for record in in_rounds(data.train)]
    # By hand: one byte per code, and a scale and an offset of four bytes for each of 16 features.
    sizes = [value + 16 * 8 if resident == "int8" else value * 2 for value in values]
    for count in (0, 1, 17, 35, 36):
        exact = sum(sizes[:count])
        assert choose_resident(data, config, gigabytes=exact / 1e9) == Resident(count, False)
        assert choose_resident(data, config, gigabytes=(exact - 1) / 1e9).train == max(0, count - 1)
        assert resident_gigabytes(data, config, Resident(count, False)) == pytest.approx(exact / 1e9)
    validation = sum(data.store.frames(song, 0) * 32 for song in data.val.songs)
    assert choose_resident(data, config, gigabytes=(sum(sizes) + validation) / 1e9) == Resident(36, True)
    assert choose_resident(data, config, gigabytes=(sum(sizes) + validation - 1) / 1e9) == Resident(36, False)
