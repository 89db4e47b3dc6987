"""Nearest songs, and near twins that were planted."""

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from stages.similarity import neighbours
from stages.similarity.errors import SimilarityError
from stages.similarity.neighbours import find_neighbours
from stages.similarity.report import NeighbourReport
from store import EmbeddingStore, StoreError

Write = Callable[..., EmbeddingStore]
SONGS = 40
SPLITS = {f"song {number:02}": "val" if number % 4 == 0 else "train" for number in range(SONGS)}


def means(*, views: bool, seed: int = 0) -> dict[tuple[str, int], NDArray[np.float64]]:
    """Random songs with a common offset and channels of different sizes; song 8 (val) is nearly song 5 (train)."""
    generator = np.random.default_rng(seed)
    offset, sizes = 5 + generator.normal(0, 1, (2, 8)), np.geomspace(0.1, 10, 8)
    songs = generator.normal(0, 1, (SONGS, 2, 8))
    songs[8] = songs[5] + generator.normal(0, 0.05, (2, 8))
    found = {(f"song {number:02}", 0): offset + sizes * song for number, song in enumerate(songs)}
    if views:
        moved = generator.normal(0, 0.2, songs.shape)
        found |= {
            (f"song {number:02}", 1): offset + sizes * (song + move)
            for number, (song, move) in enumerate(zip(songs, moved, strict=True))
            if number % 4
        }
    return found


@pytest.fixture(scope="module")
def stores(write_store: Write, tmp_path_factory: pytest.TempPathFactory) -> dict[bool, EmbeddingStore]:
    """The store without and with views."""
    folder = tmp_path_factory.mktemp("neighbours")
    return {views: write_store(folder / f"{views}.zarr", means(views=views)) for views in (False, True)}


@pytest.mark.parametrize("views", [False, True])
def test_a_planted_twin_is_found_across_splits_and_nothing_else(
    stores: dict[bool, EmbeddingStore], views: bool
) -> None:
    report = find_neighbours(stores[views], splits=SPLITS)
    assert [{one.song, one.neighbour} for one in report.twins] == [{"song 05", "song 08"}]
    (warning,) = report.warnings
    assert warning.startswith("1 of 10 val songs have a near twin among the training songs")
    threshold = report.threshold
    assert (threshold.views, threshold.views_above) == ((30, 1.0) if views else (0, None))
    assert threshold.songs_above == 2 / SONGS
    assert f"{threshold.value:.3f} or more" in report.to_text()
    assert "song 08 (val)  ~  song 05 (train)" in report.to_text()


def test_neighbours_are_those_of_a_plain_loop_in_blocks_of_any_size(
    stores: dict[bool, EmbeddingStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    songs = np.stack(list(means(views=False).values()))
    standard = ((songs - songs.mean(axis=0)) / songs.std(axis=0)).reshape(SONGS, -1)
    directions = standard / np.linalg.norm(standard, axis=1, keepdims=True)
    names = list(SPLITS)
    expected = {}
    for song in range(SONGS):
        others = sorted((-float(directions[song] @ directions[one]), one) for one in range(SONGS) if one != song)
        expected[names[song]] = [(names[one], -negative) for negative, one in others[:3]]
    monkeypatch.setattr(neighbours, "BLOCK", 7)
    report = find_neighbours(stores[False], nearest=3)
    for song in names:
        found = [(one.neighbour, one.similarity) for one in report.neighbours if one.song == song]
        assert [name for name, _ in found] == [name for name, _ in expected[song]]
        assert [value for _, value in found] == pytest.approx([value for _, value in expected[song]], abs=1e-5)


def test_each_split_is_searched_and_a_song_is_not_its_own_neighbour(stores: dict[bool, EmbeddingStore]) -> None:
    report = find_neighbours(stores[False], splits=SPLITS, nearest=100)
    pairs = {(one.song, one.neighbour) for one in report.neighbours}
    assert len(pairs) == len(report.neighbours) == SONGS * (SONGS - 1)
    assert all(one.neighbour_split == SPLITS[one.neighbour] and one.song != one.neighbour for one in report.neighbours)


def test_songs_of_another_store_are_found_with_the_scale_of_the_first(
    stores: dict[bool, EmbeddingStore], write_store: Write, tmp_path: Path
) -> None:
    known = means(views=False)
    others = means(views=False, seed=1)
    others["song 00", 0] = known["song 13", 0]
    report = find_neighbours(stores[False], against=write_store(tmp_path / "other.zarr", others))
    (twin,) = report.twins
    assert (twin.song, twin.neighbour, twin.similarity) == ("song 00", "song 13", pytest.approx(1.0))
    (warning,) = report.warnings
    assert warning.startswith("1 of 40 songs have a near twin in the other store")


def test_csv_holds_all_pairs(stores: dict[bool, EmbeddingStore], tmp_path: Path) -> None:
    report: NeighbourReport = find_neighbours(stores[True], splits=SPLITS)
    report.write_csv(tmp_path / "new" / "pairs.csv")
    with (tmp_path / "new" / "pairs.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(report.neighbours) == 2 * SONGS
    assert {row["song_id"] for row in rows if row["near_twin"] == "1"} == {"song 05", "song 08"}
    assert report.to_json()["neighbours"][0]["similarity"] == float(rows[0]["similarity"])
    with pytest.raises(SimilarityError, match="cannot be written: Is a directory"):
        report.write_csv(tmp_path / "new")


def test_silent_channels_and_equal_songs_give_numbers(write_store: Write, tmp_path: Path) -> None:
    equal = {(f"song {number}", 0): np.ones((2, 8)) for number in range(5)}
    report = find_neighbours(write_store(tmp_path / "equal.zarr", equal))
    assert [one.similarity for one in report.neighbours] == [0.0] * 5


def test_stores_that_cannot_be_compared_are_refused(
    stores: dict[bool, EmbeddingStore], write_store: Write, tmp_path: Path
) -> None:
    other = write_store(tmp_path / "other.zarr", means(views=False), encoder="sha256:b")
    with pytest.raises(SimilarityError, match=r"expected encoders .*256:a.*, found .*256:b.*; extract both alike"):
        find_neighbours(stores[False], against=other)
    with pytest.raises(SimilarityError, match="expected at least 4 songs, found 0"):
        find_neighbours(stores[False], splits={"other": "val"})
    with pytest.raises(StoreError, match="no stream 'muq'"):
        find_neighbours(stores[False], streams=["muq"])
