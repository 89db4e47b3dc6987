"""The plan of an epoch, made before it begins: batches, partners, shares and crops, all from (seed, epoch).

Nothing here depends on workers, caches or interruptions, so a resumed run trains on the same batches.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stages.head.config import TrainConfig
from stages.head.data.cmixup import draw_partners
from stages.head.data.corpus import Corpus

# Separates the random streams that share one seed.
_EPOCH_STREAM = 1


@dataclass(frozen=True)
class Item:
    """One record to read; if it must be cropped, `place` (0 to below 1) is where the crop begins."""

    song: str
    view: int
    place: float


@dataclass(frozen=True)
class PlannedBatch:
    """Records of one batch: A anchors, then their partners, if any; mixed targets float32 (A, D); `share` is λ."""

    items: tuple[Item, ...]
    anchors: int
    targets: NDArray[np.float32]
    share: float


def plan_epoch(
    corpus: Corpus, config: TrainConfig, *, epoch: int, partner_views: NDArray[np.integer] | None = None
) -> list[PlannedBatch]:
    """The batches of one epoch, in order.

    Parameters
    ----------
    epoch
        Counted from 0.
    partner_views
        (N,) for each song, how many of its first views can be those of a partner; None for all.
    """
    generator = np.random.default_rng([config.seed, _EPOCH_STREAM, epoch])
    songs, views = _anchors(corpus, config.views_per_epoch, generator)
    counts = np.array([len(views) for views in corpus.views])
    places = generator.random((2, len(songs)))
    mixing = config.mix != "none" and len(corpus.songs) > 1
    partners = None
    if mixing:
        partners = draw_partners(
            songs, corpus.ratings, counts, sigma=config.sigma, generator=generator, drawn=partner_views
        )
    batches = []
    for start in range(0, len(songs), config.batch_size):
        rows = slice(start, start + config.batch_size)
        share = float(generator.beta(config.alpha, config.alpha)) if mixing else 1.0
        items = _items(corpus, songs[rows], views[rows], places[0, rows])
        targets = corpus.ratings[songs[rows]]
        anchors = len(items)
        if partners is not None:
            mates, which = partners[0][rows], partners[1][rows]
            chosen = np.array([corpus.views[mate][view] for mate, view in zip(mates, which, strict=True)])
            items += _items(corpus, mates, chosen, places[1, rows])
            targets = share * targets + (1 - share) * corpus.ratings[mates]
        batches.append(PlannedBatch(tuple(items), anchors, targets.astype(np.float32), share))
    return batches


def _anchors(
    corpus: Corpus, views_per_epoch: int, generator: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Song positions and views, (A,) each, in the order of the epoch."""
    pairs = [
        (song, int(view))
        for song, views in enumerate(corpus.views)
        for view in (generator.permutation(views)[:views_per_epoch] if views_per_epoch else views)
    ]
    table = generator.permutation(np.array(pairs, np.int64).reshape(-1, 2))
    return table[:, 0], table[:, 1]


def _items(
    corpus: Corpus, songs: NDArray[np.int64], views: NDArray[np.int64], places: NDArray[np.float64]
) -> list[Item]:
    return [
        Item(corpus.songs[song], int(view), float(place))
        for song, view, place in zip(songs, views, places, strict=True)
    ]
