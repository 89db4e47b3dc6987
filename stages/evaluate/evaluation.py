"""Score a split of a store with a head or several, and say how well that agrees with the ratings."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stages.evaluate.trained_on import TrainedOn
from stages.head.checkpoint.encoders import caution_of
from stages.head.checkpoint.head import Head
from stages.head.checkpoint.score import score_records
from stages.head.data.corpus import Corpus, select_corpus
from stages.head.errors import HeadError
from stages.head.training.checks import left_out, little_to_measure_by
from stages.metrics.agreement import Metrics, score_metrics
from stages.metrics.bootstrap import DRAWS, Intervals, bootstrap_intervals
from stages.songs import Manifest
from stages.songs.manifest_file import as_manifest
from store import EmbeddingStore, check_receipt, open_store

# Of one system there is no correlation; two always agree or disagree completely, whichever are drawn.
FEWEST_SYSTEMS, FEWEST_FOR_INTERVALS = 2, 3


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """How well scores agree with ratings; made by `evaluate`.

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

    Examples
    --------
    >>> import hear_music as hear
    >>> found = hear.evaluate(hear.load_heads("models/track2"), "embeddings.zarr", "manifest.csv", draws=100)
    >>> found.predicted.shape  # (song, dimension)
    (2, 5)
    >>> found.caution
    'trained on the demo: meaningless for music'
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
    store: EmbeddingStore | str | Path,
    manifest: Manifest | str | Path,
    *,
    split: str = "val",
    receipt: str | Path | None = None,
    allow_missing: int = 0,
    draws: int = DRAWS,
    trained_on: Sequence[TrainedOn] = (),
) -> Evaluation:
    """Compare the scores of a head, or the mean scores of several, with the ratings of one split.

    Parameters
    ----------
    heads
        From `load_heads`.
    store
        Embeddings from the same encoders as the heads' own: a store, or its folder or URL.
    manifest
        Songs with ratings: a manifest, or its file.
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

    Returns
    -------
    Evaluation
        Metrics over songs and over systems, with intervals.

    Raises
    ------
    HeadError
        The store is of other encoders, layers or streams than a head's, or lacks songs; or the heads differ in
        dimensions.
    StoreError
        The store is not what the receipt says, or cannot be read.
    SongsError
        The manifest cannot be read, or the split has no song, or none with ratings.

    Examples
    --------
    >>> import hear_music as hear
    >>> heads = hear.load_heads("models/track2")
    >>> found = hear.evaluate(heads, "embeddings.zarr", "manifest.csv", split="val", draws=100)
    >>> sorted(found.utterance["Clarity"])
    ['KTAU', 'LCC', 'SRCC', 'TTA']
    """
    dimensions = heads[0].dimensions
    for head in heads:
        if head.dimensions != dimensions:
            raise HeadError(f"heads that score together must agree on dimensions: {dimensions} and {head.dimensions}")
    store = open_store(store)
    if receipt is not None:
        check_receipt(Path(receipt), store)
    corpus = select_corpus(
        store, as_manifest(manifest), split=split, dimensions=dimensions, augmented=0, allow_missing=allow_missing
    )
    each = np.stack([score_records(head, store, corpus.songs) for head in heads])
    found = evaluation_of(corpus, each.mean(axis=0), split=split, dimensions=dimensions, draws=draws)
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
        utterance=score_metrics(corpus.labels, predicted, dimensions=dimensions),
        intervals=bootstrap_intervals(corpus.labels, predicted, dimensions=dimensions, draws=draws),
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
    shape = (len(systems), corpus.labels.shape[1])
    return SystemMeans(
        *(
            np.array([values[names == system].mean(axis=0) for system in systems]).reshape(shape)
            for values in (corpus.labels, predicted)
        )
    )


def _system_intervals(means: SystemMeans, *, dimensions: Sequence[str], draws: int) -> Intervals | None:
    """Intervals over draws of systems: which systems there are is chance here, and a system's songs are one sample."""
    if len(means.rated) < FEWEST_FOR_INTERVALS:
        return None
    return bootstrap_intervals(*means, dimensions=dimensions, draws=draws)
