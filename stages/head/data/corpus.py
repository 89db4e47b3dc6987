"""The songs of one split that a head can train on: those with all ratings in the manifest, and in the store."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from stages.head.errors import HeadError
from stages.songs import Manifest, Song, SongsError
from store import EmbeddingStore


@dataclass(frozen=True)
class Corpus:
    """N songs: ids, generating systems, ratings float32 (N, D) from 1 to 5, and the stored views of each.

    Songs of the split that are left out: `missing` ones are not in the store, `unrated` ones lack a rating in one of
    the dimensions.
    """

    songs: tuple[str, ...]
    systems: tuple[str, ...]
    ratings: NDArray[np.float32]
    views: tuple[tuple[int, ...], ...]
    missing: tuple[str, ...] = ()
    unrated: tuple[str, ...] = ()

    def records(self) -> list[tuple[str, int]]:
        """Every (song, view), song by song."""
        return [(song, view) for song, views in zip(self.songs, self.views, strict=True) for view in views]

    def shuffled(self, seed: int) -> "Corpus":
        """The same songs with shuffled ratings: a control, on which scores should drop to chance."""
        order = np.random.default_rng([seed, len(self.songs)]).permutation(len(self.songs))
        return replace(self, ratings=self.ratings[order])


def select_corpus(
    store: EmbeddingStore,
    manifest: Manifest,
    *,
    split: str,
    dimensions: Sequence[str],
    augmented: int | None = None,
    allow_missing: int = 0,
) -> Corpus:
    """Select the songs of a split with their ratings and views; songs without a rating are left out and named.

    Parameters
    ----------
    augmented
        Augmented views of each song to keep besides view 0; all if None.
    allow_missing
        Number of rated songs that the store may lack; they are named in `Corpus.missing`.

    Raises
    ------
    HeadError
        More songs are missing; the message names the first.
    SongsError
        The split is empty, or none of its songs has a rating in each dimension.
    """
    listed, unrated = _rated(manifest, split, dimensions)
    stored = set(store.songs)
    present = [song for song in listed if song.song_id in stored and 0 in store.views(song.song_id)]
    stored = {song.song_id for song in present}
    missing = tuple(song.song_id for song in listed if song.song_id not in stored)
    if len(missing) > allow_missing or not present:
        raise HeadError(
            f"{store.root}: lacks {len(missing)} of {len(listed)} {split} songs of {manifest.path}, the first is "
            f"{missing[0]!r}; run hear-extract again, or allow this many with --allow-missing"
        )
    return Corpus(
        songs=tuple(song.song_id for song in present),
        systems=tuple(song.system for song in present),
        ratings=manifest.labels(present, dimensions),
        views=tuple(_kept(store.views(song.song_id), augmented) for song in present),
        missing=missing,
        unrated=unrated,
    )


def _rated(manifest: Manifest, split: str, dimensions: Sequence[str]) -> tuple[list[Song], tuple[str, ...]]:
    """Songs with a rating in each dimension, and the ids of the others."""
    songs = manifest.split(split)
    rated = [song for song in songs if song.labels.keys() >= set(dimensions)]
    if not rated:
        lacking = [name for name in dimensions if name not in songs[0].labels]
        raise SongsError(
            f"{manifest.path}: none of the {len(songs)} {split} songs has a rating in each of {', '.join(dimensions)}; "
            f"{songs[0].song_id!r} lacks {', '.join(lacking)}; add ratings to the manifest"
        )
    return rated, tuple(song.song_id for song in songs if not song.labels.keys() >= set(dimensions))


def _kept(views: Sequence[int], augmented: int | None) -> tuple[int, ...]:
    return tuple(views) if augmented is None else tuple(sorted(views)[: 1 + augmented])
