"""Score a split of a store with a head, and say how well it agrees with the ratings."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stages.evaluate.metrics import Metrics, score_metrics
from stages.head.corpus import Corpus, select_corpus
from stages.head.head import Head
from stages.head.score import check_spec, score_records
from stages.songs import Manifest
from store import EmbeddingStore


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """What a head scored, float32 (N, D), on the songs of a corpus, and the metrics of that."""

    dimensions: tuple[str, ...]
    corpus: Corpus
    predicted: NDArray[np.float32]
    metrics: Metrics


def evaluate_head(
    head: Head, *, store_root: str | Path, manifest: Manifest, split: str = "val", allow_missing: int = 0
) -> Evaluation:
    """Compare a head's scores of one split with the ratings.

    Parameters
    ----------
    head
        From `load_head`.
    store_root
        Embeddings from the same encoders as the head's own.
    split
        train, val or test; view 0 of each song is scored.
    allow_missing
        Songs of the split that the store may lack.

    Raises
    ------
    HeadError
        The store is of other encoders, layers or streams than the head's, or lacks songs.
    SongsError
        The split is empty, or a song lacks a label.
    """
    store = EmbeddingStore.open(store_root)
    check_spec(head, store)
    corpus = select_corpus(
        store, manifest, split=split, dimensions=head.dimensions, augmented=0, allow_missing=allow_missing
    )
    predicted = score_records(head, store, corpus.songs)
    metrics = score_metrics(corpus.labels, predicted, dimensions=head.dimensions)
    return Evaluation(dimensions=head.dimensions, corpus=corpus, predicted=predicted, metrics=metrics)
