"""The data of a training run: the store, its streams, and the songs of the splits train and val."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from stages.common.streams import with_layer, without_layer
from stages.head.config import TrainConfig
from stages.head.data.corpus import Corpus, select_corpus
from stages.head.data.ratings import Ratings, ratings_of
from stages.head.errors import HeadError
from stages.head.model.sizes import Architecture
from stages.head.tracks import TRACK_DIMENSIONS
from stages.songs import Manifest
from store import EmbeddingStore, check_receipt, open_store

# The layers that the paper (§2.1) and the baseline use, for stores with several.
PAPER_LAYER, SONGEVAL_LAYER = 10, 6


@dataclass(frozen=True, kw_only=True)
class Data:
    """Songs to train on (`train`, all their views) and to validate on (`val`, view 0 only)."""

    store: EmbeddingStore
    train: Corpus
    val: Corpus
    dimensions: tuple[str, ...]
    streams: tuple[str, ...]

    @property
    def features(self) -> int:
        """Values per frame."""
        return len(self.streams) * self.store.channels

    def digest(self) -> str:
        """Hash of the songs, their views and ratings, 16 hexadecimal digits: the manifest's part of the data."""
        digest = hashlib.sha256()
        for corpus in (self.train, self.val):
            digest.update(json.dumps([corpus.songs, corpus.views]).encode())
            digest.update(corpus.ratings.tobytes())
        return digest.hexdigest()[:16]

    def ratings(self) -> Ratings:
        """The ratings of both splits, shuffled if the config says so."""
        return ratings_of(self.dimensions, train=self.train, val=self.val)

    def longest(self) -> int:
        """Frames of the longest record."""
        return max(self.store.rows[record].frames for record in self.train.records() + self.val.records())


def open_data(
    store: EmbeddingStore | str | Path,
    manifest: Manifest,
    *,
    track: int,
    config: TrainConfig,
    receipt: Path | None = None,
) -> Data:
    """Open the store and select the songs.

    Raises
    ------
    HeadError
        Songs or streams are missing, or a stream is named twice.
    StoreError
        The store does not match the receipt, or cannot be read.
    SongsError
        A split has no songs, or none with ratings.
    """
    store = open_store(store)
    if receipt is not None:
        check_receipt(receipt, store)
    dimensions = TRACK_DIMENSIONS[track]
    corpora = {
        split: select_corpus(
            store,
            manifest,
            split=split,
            dimensions=dimensions,
            augmented=config.augmented if split == "train" else 0,
            allow_missing=config.allow_missing,
        )
        for split in ("train", "val")
    }
    if config.shuffle_labels:
        shuffle_seed = config.seed if config.shuffle_seed is None else config.shuffle_seed
        corpora = {split: corpus.shuffled(shuffle_seed) for split, corpus in corpora.items()}
    streams = pick_streams(store, config.streams, architecture=config.architecture)
    return Data(store=store, **corpora, dimensions=dimensions, streams=streams)


def pick_streams(store: EmbeddingStore, wanted: Sequence[str], *, architecture: Architecture) -> tuple[str, ...]:
    """The streams to train on.

    If none are named: all streams of layer 10, as in the paper, or else of the deepest layer; for SongEval's head,
    `muq/track` of layer 6 if the store has it. Imported stores may not name layers; then all streams count.

    Raises
    ------
    HeadError
        The store lacks one, or one is named twice.
    """
    for place, name in enumerate(wanted):
        if name in wanted[:place]:
            raise HeadError(f"{store.root}: stream {name!r} is named twice; name each once")
        if name not in store.streams:
            raise HeadError(f"{store.root}: no stream {name!r}; found {', '.join(store.streams)}")
    if wanted:
        return tuple(wanted)
    favourite = SONGEVAL_LAYER if architecture == "songeval" else PAPER_LAYER
    layers = store.spec.layers
    layer = favourite if favourite in layers else max(layers, default=None)
    of_layer = [
        name for name in store.streams if layer is None or "@" not in name or name.endswith(with_layer("", layer))
    ]
    if architecture == "songeval":
        of_layer = [name for name in of_layer if without_layer(name) == "muq/track"]
    if not of_layer:
        raise HeadError(f"{store.root}: SongEval's head needs stream muq/track; found {', '.join(store.streams)}")
    return tuple(of_layer)
