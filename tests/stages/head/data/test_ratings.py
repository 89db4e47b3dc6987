"""Ratings saved with a head: their digest, the file, reported changes, and songs without ratings."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.head.config import TrainConfig
from stages.head.data.corpus import Corpus, select_corpus
from stages.head.data.ratings import Ratings, ratings_of, read_ratings, write_ratings
from stages.head.data.splits import open_data
from stages.head.errors import HeadError
from stages.head.tracks import TRACK_DIMENSIONS
from stages.head.training.train import TrainReport, train_head
from stages.songs import DIMENSIONS, Manifest, Song, SongsError
from store import EmbeddingStore

IDS = st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from("'=-+@;\r\n\t\""), min_size=1, max_size=8)
RATED = st.dictionaries(IDS, st.tuples(*[st.floats(1, 5, width=32)] * 2), max_size=6)


def ratings(train: dict, val: dict | None = None) -> Ratings:
    return Ratings(dimensions=("Musicality", "Clarity"), splits={"train": train, "val": val or {}})


@given(RATED)
def test_digests_do_not_depend_on_the_order_of_songs_but_on_every_rating_id_and_dimension(rated: dict) -> None:
    digest = ratings(rated).digests()["train"]
    assert ratings(dict(reversed(rated.items()))).digests()["train"] == digest
    for song, (one, other) in rated.items():
        rest = {name: row for name, row in rated.items() if name != song}
        changed = float(np.nextafter(np.float32(one), np.float32(9)))
        for instead in (rest, {**rest, f"{song}+": (one, other)}, {**rest, song: (changed, other)}):
            assert ratings(instead).digests()["train"] != digest
    assert replace(ratings(rated), dimensions=("Clarity", "Musicality")).digests()["train"] != digest


@given(RATED, RATED)
def test_the_file_gives_back_every_id_and_rating(
    tmp_path_factory: pytest.TempPathFactory, train: dict, val: dict
) -> None:
    path = tmp_path_factory.mktemp("ratings") / "ratings.csv"
    written = ratings(train, val)
    write_ratings(path, written)
    read = read_ratings(path)
    assert read.dimensions == written.dimensions
    assert read.splits == {split: rated for split, rated in written.splits.items() if rated}
    assert all(written.digests()[split] == digest for split, digest in read.digests().items())


def test_the_file_is_for_people(tmp_path: Path) -> None:
    labels = np.array([[3.3, 1.1]], np.float32)
    write_ratings(
        tmp_path / "ratings.csv", ratings_of(("Musicality", "Clarity"), train=Corpus(("a",), ("",), labels, ((0,),)))
    )
    assert (tmp_path / "ratings.csv").read_text() == "song_id,split,Musicality,Clarity\na,train,3.3,1.1\n"


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        ({"a": (1.0, 2.0), "b": (3.0, 4.0)}, ""),
        ({"b": (3.0, 4.0), "a": (1.0, 2.0)}, ""),
        (
            {"a": (1.0, 2.5), "b": (3.5, 4.0)},
            "2 of 2 train songs have other ratings, the first is 'a' (Clarity was 2.0, now it is 2.5)",
        ),
        (
            {"b": (3.3, 4.0), "c": (1.0, 1.0)},
            "1 of 2 train songs have other ratings, the first is 'b' (Musicality was 3.0, now it is 3.3); "
            "removed from train: 1, the first is 'a'; added to train: 1, the first is 'c'",
        ),
    ],
)
def test_a_difference_counts_songs_and_names_the_first(now: dict, expected: str) -> None:
    assert ratings({"a": (1.0, 2.0), "b": (3.0, 4.0)}).difference(ratings(now)) == expected


def test_other_dimensions_and_splits_are_differences_too() -> None:
    before = ratings({"a": (1.0, 2.0)})
    other = Ratings(dimensions=("Musicality",), splits={"train": {"a": (1.0,)}})
    assert before.difference(other) == "ratings were of Musicality, Clarity, now they are of Musicality"
    assert before.difference(ratings({"a": (1.0, 2.0)}, {"b": (1.0, 1.0)})) == "added to val: 1, the first is 'b'"
    assert before.difference(replace(before, splits={})) == "removed from train: 1, the first is 'a'"


@pytest.mark.parametrize(
    "content", [b"", b"song_id\n\n", b"song_id,split,A\nx,train\n", b"song_id,split,A\nx,train,high\n", b"\xff", b'"a']
)
def test_a_damaged_file_gives_one_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "ratings.csv").write_bytes(content)
    with pytest.raises(
        HeadError, match=r"ratings\.csv: cannot be read as a run's ratings: .*restore or remove the file"
    ):
        read_ratings(tmp_path / "ratings.csv")


def without_ratings(manifest: Manifest, lacking: dict[int, tuple[str, ...]]) -> Manifest:
    """The same songs; those at these positions lack these dimensions."""

    def cut(number: int, song: Song) -> Song:
        return replace(song, labels={k: v for k, v in song.labels.items() if k not in lacking.get(number, ())})

    return replace(manifest, songs=tuple(cut(number, song) for number, song in enumerate(manifest.songs)))


@pytest.mark.parametrize("track", [1, 2])
@given(lacking=st.dictionaries(st.integers(2, 23), st.sets(st.sampled_from(DIMENSIONS)).map(tuple), max_size=20))
def test_songs_that_lack_a_rating_of_the_track_are_left_out_and_named(learnable, track: int, lacking: dict) -> None:
    manifest, dimensions = without_ratings(learnable.manifest, lacking), TRACK_DIMENSIONS[track]
    data = open_data(learnable.store, manifest, track=track, config=TrainConfig())
    unrated = {song.song_id for song in manifest.songs if not set(dimensions) <= song.labels.keys()}
    assert {*data.train.unrated, *data.val.unrated} == unrated
    assert {*data.train.songs, *data.val.songs} == {song.song_id for song in manifest.songs} - unrated
    for corpus in (data.train, data.val):
        assert np.isfinite(corpus.ratings).all()
        rows = {song.song_id: [song.labels[name] for name in dimensions] for song in learnable.manifest.songs}
        np.testing.assert_array_equal(corpus.ratings, np.array([rows[song] for song in corpus.songs], np.float32))


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_a_split_without_any_rated_song_is_refused(learnable, split: str) -> None:
    songs = without_ratings(learnable.manifest, dict.fromkeys(range(24), ("Clarity", "Musicality"))).songs
    manifest = replace(learnable.manifest, songs=tuple(replace(song, split=split) for song in songs))
    store = EmbeddingStore.open(learnable.store)
    with pytest.raises(
        SongsError,
        match=rf"none of the 24 {split} songs has a rating in each of .*; 'söng 0' lacks Musicality, Clarity; add",
    ):
        select_corpus(store, manifest, split=split, dimensions=DIMENSIONS)


def test_songs_without_a_rating_are_not_missing_in_the_store(learnable) -> None:
    extra = Song("nowhere", Path("none.wav"), "train", "", {}, {})
    manifest = replace(learnable.manifest, songs=(*learnable.manifest.songs, extra))
    train = open_data(learnable.store, manifest, track=2, config=TrainConfig()).train
    assert (train.unrated, train.missing, len(train.songs)) == (("nowhere",), (), 18)


def test_a_run_uses_only_rated_songs(tmp_path: Path, learnable, config: TrainConfig) -> None:
    def train(name: str, manifest: Manifest) -> TrainReport:
        short = replace(config, epochs=1)
        return train_head(store=learnable.store, manifest=manifest, track=2, out=tmp_path / name, config=short)

    unrated = without_ratings(learnable.manifest, {1: DIMENSIONS, 2: ("Clarity",), 4: DIMENSIONS})
    report = train("with", unrated)
    assert report.unrated == ("söng 1", "söng 2", "söng 4")
    assert "16 songs, 32 records, 3 songs without a rating left out, " in report.line
    rated = tuple(song for song in unrated.songs if song.song_id not in report.unrated)
    assert "rating" not in train("alone", replace(unrated, songs=rated)).line
    for name in ("model.safetensors", "params.json", "ratings.csv", "predictions.csv"):
        assert (tmp_path / "with" / name).read_bytes() == (tmp_path / "alone" / name).read_bytes(), name


def test_ratings_of_both_splits_are_kept_and_named_in_params(tmp_path: Path, learnable, config: TrainConfig) -> None:
    short = replace(config, epochs=1)
    train_head(store=learnable.store, manifest=learnable.manifest, track=1, out=tmp_path / "run", config=short)
    kept = read_ratings(tmp_path / "run" / "ratings.csv")
    assert kept.dimensions == ("Musicality",)
    for song in learnable.manifest.songs:
        assert kept.splits[song.split][song.song_id] == (float(np.float32(song.labels["Musicality"])),)
