"""Which records a run holds on its device: in a fixed order, as many as fit, so that a resumed run holds the same.

View 0 of every song comes first, then the other views by number. With `--resident float16` or `int8`, C-Mixup takes a
partner's view from those that are held, so that partners need no reading.
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stages.head.config import TrainConfig
from stages.head.data.corpus import Corpus
from stages.head.data.splits import Data

# Bytes per value.
WIDTHS = {"float16": 2, "float32": 4, "int8": 1}
# An int8 record has a scale and an offset per feature, in float32.
LEVEL_BYTES = 2 * 4


class Resident(NamedTuple):
    """How many training records are held, in the order of `in_rounds`, and whether all validation songs are, too."""

    train: int
    val: bool


def in_rounds(corpus: Corpus) -> list[tuple[str, int]]:
    """Every (song, view): the first view of each song, then the second of each, and so on."""
    most = max(map(len, corpus.views))
    return [
        (song, views[place])
        for place in range(most)
        for song, views in zip(corpus.songs, corpus.views, strict=True)
        if place < len(views)
    ]


def choose_resident(data: Data, config: TrainConfig, *, gigabytes: float) -> Resident:
    """The records that fit: training records in the type of `config.resident`, and then validation songs as stored."""
    sizes = np.cumsum(_bytes(data, in_rounds(data.train), held_type(data, config)))
    budget = gigabytes * 1e9
    count = int(np.searchsorted(sizes, budget, side="right"))
    left = budget - (sizes[count - 1] if count else 0)
    return Resident(count, sum(_bytes(data, data.val.records(), data.store.spec.dtype)) <= left)


def resident_gigabytes(data: Data, config: TrainConfig, resident: Resident) -> float:
    """Memory of the held records."""
    train = sum(_bytes(data, in_rounds(data.train)[: resident.train], held_type(data, config)))
    val = sum(_bytes(data, data.val.records(), data.store.spec.dtype)) if resident.val else 0
    return (train + val) / 1e9


def held_type(data: Data, config: TrainConfig) -> str:
    """The storage type of held training records."""
    return data.store.spec.dtype if config.resident == "stored" else config.resident


def partner_views(corpus: Corpus, held: int) -> NDArray[np.int64]:
    """How many views of each song partners are drawn from, (N,): its held ones, or all if none is held.

    Parameters
    ----------
    held
        Number of held records, in the order of `in_rounds`. So the held views of a song are the first of its views.
    """
    places = {song: place for place, song in enumerate(corpus.songs)}
    counts = np.bincount([places[song] for song, _ in in_rounds(corpus)[:held]], minlength=len(places))
    return np.where(counts > 0, counts, [len(views) for views in corpus.views])


def _bytes(data: Data, records: Iterable[tuple[str, int]], dtype: str) -> list[int]:
    levels = data.features * LEVEL_BYTES if dtype == "int8" else 0
    return [data.store.rows[record].frames * data.features * WIDTHS[dtype] + levels for record in records]
