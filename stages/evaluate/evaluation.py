"""Score a split of a store with a head or several, and say how well that agrees with the ratings."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stages.evaluate.trained_on import TrainedOn
from stages.head.checkpoint.encoders import caution_of
from stages.head.checkpoint.ensemble import check_agreement, mean_scores
from stages.head.checkpoint.head import Head
from stages.head.data.corpus import Corpus, select_corpus
from stages.head.training.checks import left_out, little_to_measure_by
from stages.metrics.agreement import Metrics, score_metrics
from stages.metrics.bootstrap import DRAWS, Intervals, bootstrap_intervals
from stages.songs import Manifest
from store import EmbeddingStore, check_receipt

# Of one system there is no correlation; two always agree or disagree completely, whichever are drawn.
FEWEST_SYSTEMS, FEWEST_FOR_INTERVALS = 2, 3


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
    system, system_intervals
        Metrics over the means of each generating system, None where the manifest names fewer than two; and their
        95 % intervals, None for fewer than three.
    caution
        Why no score of these heads is to be trusted; empty for heads that are meant to be used.
    notes
        What a reader of the figures should know: songs that were left out, metrics that count 0 whatever a head says,
        ratings that are not those of the head's training, songs that it was trained on. One sentence each.
    """

    split: str
    dimensions: tuple[str, ...]
    corpus: Corpus
    predicted: NDArray[np.float32]
    utterance: Metrics
    intervals: Intervals
    system: Metrics | None
    system_intervals: Intervals | None
    caution: str = ""
    notes: tuple[str, ...] = ()


def evaluate_heads(
    heads: Sequence[Head],
    *,
    store_root: str | Path,
    manifest: Manifest,
    split: str = "val",
    receipt: Path | None = None,
    allow_missing: int = 0,
    draws: int = DRAWS,
    trained_on: Sequence[TrainedOn] = (),
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
    trained_on
        What the heads were trained on, as far as that is known: `Evaluation.notes` then compares.

    Raises
    ------
    HeadError
        The store is of other encoders, layers or streams than a head's, or lacks songs; or the heads differ in
        dimensions.
    StoreError
        The store is not what the receipt says, or cannot be read.
    SongsError
        The split has no song, or none with ratings.
    """
    dimensions = heads[0].dimensions
    check_agreement(heads)
    store = EmbeddingStore.open(store_root)
    if receipt is not None:
        check_receipt(receipt, store)
    corpus = select_corpus(
        store, manifest, split=split, dimensions=dimensions, augmented=0, allow_missing=allow_missing
    )
    predicted = mean_scores(heads, store, corpus.songs)
    found = evaluation_of(corpus, predicted, split=split, dimensions=dimensions, draws=draws)
    compared = (note for one in trained_on for note in one.compare(corpus, split=split, dimensions=dimensions))
    about = (*left_out(corpus, split=split), *little_to_measure_by(corpus, split=split, dimensions=dimensions))
    return replace(found, caution=caution_of(heads), notes=tuple(dict.fromkeys([*about, *compared])))


def evaluation_of(
    corpus: Corpus, predicted: NDArray[np.float32], *, split: str, dimensions: tuple[str, ...], draws: int = DRAWS
) -> Evaluation:
    """All figures of predictions float32 (N, D) for the songs of a corpus."""
    means = system_means(corpus, predicted)
    system = score_metrics(*means, dimensions=dimensions) if len(means.rated) >= FEWEST_SYSTEMS else None
    return Evaluation(
        split=split,
        dimensions=dimensions,
        corpus=corpus,
        predicted=predicted,
        utterance=score_metrics(corpus.ratings, predicted, dimensions=dimensions),
        intervals=bootstrap_intervals(corpus.ratings, predicted, dimensions=dimensions, draws=draws),
        system=system,
        system_intervals=_system_intervals(means, dimensions=dimensions, draws=draws),
    )


class SystemMeans(NamedTuple):
    """Mean rating and mean score of each generating system's songs, (M, D) each, by the system's name."""

    rated: NDArray[np.floating]
    scored: NDArray[np.floating]


def system_means(corpus: Corpus, predicted: NDArray[np.floating]) -> SystemMeans:
    """The means of each system; songs without a system do not count."""
    names = np.array(corpus.systems)
    systems = sorted({name for name in corpus.systems if name})
    shape = (len(systems), corpus.ratings.shape[1])
    return SystemMeans(
        *(
            np.array([values[names == system].mean(axis=0) for system in systems]).reshape(shape)
            for values in (corpus.ratings, predicted)
        )
    )


def _system_intervals(means: SystemMeans, *, dimensions: Sequence[str], draws: int) -> Intervals | None:
    """Intervals over draws of systems: which systems there are is chance here, and a system's songs are one sample."""
    if len(means.rated) < FEWEST_FOR_INTERVALS:
        return None
    return bootstrap_intervals(*means, dimensions=dimensions, draws=draws)
