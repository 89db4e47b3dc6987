"""Score a split of a store with a head or several, and say how well that agrees with the ratings."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stages.evaluate.bootstrap import DRAWS, Intervals, bootstrap_intervals
from stages.evaluate.metrics import Metrics, score_metrics
from stages.head.corpus import Corpus, select_corpus
from stages.head.errors import HeadError
from stages.head.head import Head
from stages.head.score import score_records
from stages.songs import Manifest
from store import EmbeddingStore, check_receipt


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What was scored and how well.

    Attributes
    ----------
    split, dimensions, corpus
        Which songs, and their ratings (N, D).
    predicted
        float32 (N, D).
    utterance, intervals
        Metrics over songs, with their 95 % intervals.
    system
        Metrics over the means of each generating system; None where the manifest names fewer than two.
    """

    split: str
    dimensions: tuple[str, ...]
    corpus: Corpus
    predicted: NDArray[np.float32]
    utterance: Metrics
    intervals: Intervals
    system: Metrics | None


def evaluate_heads(
    heads: Sequence[Head],
    *,
    store_root: str | Path,
    manifest: Manifest,
    split: str = "val",
    receipt: Path | None = None,
    allow_missing: int = 0,
    draws: int = DRAWS,
) -> Evaluation:
    """Compare the scores of a head, or the mean scores of several, with the ratings of one split.

    Parameters
    ----------
    heads
        From `load_heads`.
    store_root
        Embeddings from the same encoders as the heads' own.
    split
        train, val or test; view 0 of each song is scored.
    receipt
        Refuse a store that is not the one this file was written for.
    allow_missing
        Songs of the split that the store may lack.
    draws
        Bootstrap samples of the intervals.

    Raises
    ------
    HeadError
        The store is of other encoders, layers or streams than a head's, or lacks songs; or the heads differ in
        dimensions.
    StoreError
        The store is not what the receipt says, or cannot be read.
    SongsError
        The split is empty, or a song lacks a label.
    """
    dimensions = heads[0].dimensions
    for head in heads:
        if head.dimensions != dimensions:
            raise HeadError(f"heads that score together must agree on dimensions: {dimensions} and {head.dimensions}")
    store = EmbeddingStore.open(store_root)
    if receipt is not None:
        check_receipt(receipt, store)
    corpus = select_corpus(
        store, manifest, split=split, dimensions=dimensions, augmented=0, allow_missing=allow_missing
    )
    each = np.stack([score_records(head, store, corpus.songs) for head in heads])
    return evaluation_of(corpus, each.mean(axis=0), split=split, dimensions=dimensions, draws=draws)


def evaluation_of(
    corpus: Corpus, predicted: NDArray[np.float32], *, split: str, dimensions: tuple[str, ...], draws: int = DRAWS
) -> Evaluation:
    """All figures of predictions float32 (N, D) for the songs of a corpus."""
    return Evaluation(
        split=split,
        dimensions=dimensions,
        corpus=corpus,
        predicted=predicted,
        utterance=score_metrics(corpus.labels, predicted, dimensions=dimensions),
        intervals=bootstrap_intervals(corpus.labels, predicted, dimensions=dimensions, draws=draws),
        system=system_metrics(corpus, predicted, dimensions=dimensions),
    )


def system_metrics(corpus: Corpus, predicted: NDArray[np.float32], *, dimensions: Sequence[str]) -> Metrics | None:
    """Metrics over the mean rating and the mean score of each system's songs; None for fewer than two systems.

    Songs without a system do not count.
    """
    names = np.array(corpus.systems)
    systems = sorted({name for name in corpus.systems if name})
    if len(systems) < 2:
        return None
    rated, scored = (
        np.stack([values[names == system].mean(axis=0) for system in systems]) for values in (corpus.labels, predicted)
    )
    return score_metrics(rated, scored, dimensions=dimensions)
