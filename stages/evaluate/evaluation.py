"""Score a split of a store with one or several heads, and compare the scores with the ratings."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stages.evaluate.raters import agreement_of_raters
from stages.evaluate.trained_on import TrainedOn
from stages.head.checkpoint.encoders import caution_of
from stages.head.checkpoint.ensemble import check_agreement, load_heads, mean_scores
from stages.head.checkpoint.head import Head
from stages.head.data.corpus import Corpus, select_corpus
from stages.head.training.checks import describe_degenerate_metrics, describe_left_out
from stages.metrics.agreement import Metrics, score_metrics
from stages.metrics.bootstrap import Intervals, bootstrap_intervals
from stages.metrics.raters import RaterAgreement
from stages.metrics.resampling import DRAWS
from stages.songs import Manifest
from stages.songs.manifest_file import as_manifest
from store import EmbeddingStore, check_receipt, open_store

# One system has no correlation; two always agree or disagree completely in every bootstrap sample.
FEWEST_SYSTEMS, FEWEST_FOR_INTERVALS = 2, 3


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """How well scores agree with ratings; made by `evaluate`.

    Attributes
    ----------
    split, dimensions, corpus
        The songs, and their ratings (N, D).
    predicted
        float32 (N, D).
    utterance, intervals
        Metrics over songs, with their 95 % intervals.
    system, system_intervals
        Metrics over the means of each generating system, None if the manifest names fewer than two; and their 95 %
        intervals, None for fewer than three.
    raters
        Agreement of the songs' raters by dimension, the ceiling for any head; empty if their ratings are not given.
    caution
        A warning if scores of these heads cannot be trusted; empty otherwise.
    notes
        Remarks on the figures, one sentence each: songs that were left out, metrics that are 0 for any head, ratings
        that differ from those in training, songs that the head was trained on.

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
    raters: Mapping[str, RaterAgreement] = field(default_factory=dict)
    caution: str = ""
    notes: tuple[str, ...] = ()


def evaluate_heads(
    heads: Sequence[Head] | str | Path,
    store: EmbeddingStore | str | Path,
    manifest: Manifest | str | Path,
    *,
    split: str = "val",
    receipt: str | Path | None = None,
    allow_missing: int = 0,
    draws: int = DRAWS,
    raters: str | Path | None = None,
    trained_on: Sequence[TrainedOn] = (),
) -> Evaluation:
    """Compare the scores of one head, or the mean scores of several, with the ratings of one split.

    Parameters
    ----------
    heads
        From `load_heads`, or where it finds them: a folder, a file or a hub id.
    store
        Embeddings from the encoders that the heads were trained on: a store, or its folder or URL.
    manifest
        Songs with ratings: a manifest, or its file.
    split
        train, val or test; view 0 of each song is scored.
    receipt
        The receipt of the store; another store is refused.
    allow_missing
        Number of songs of the split that the store may lack.
    draws
        Bootstrap samples of the intervals.
    raters
        SongEval's `metadata.jsonl`, or a file like it, for `Evaluation.raters`.
    trained_on
        The training data of the heads, as far as known; `Evaluation.notes` then compares the songs with it.

    Returns
    -------
    Evaluation
        Metrics over songs and over systems, with intervals.

    Raises
    ------
    HeadError
        The store has other encoders, layers or streams than a head needs, or lacks songs; or the heads cannot score
        together.
    StoreError
        The store does not match the receipt, or cannot be read.
    SongsError
        The manifest or the raters' file cannot be read, or the split has no songs, or none with ratings.

    Examples
    --------
    >>> import hear_music as hear
    >>> heads = hear.load_heads("models/track2")
    >>> found = hear.evaluate(heads, "embeddings.zarr", "manifest.csv", split="val", draws=100)
    >>> sorted(found.utterance["Clarity"])
    ['KTAU', 'LCC', 'SRCC', 'TTA']
    """
    heads = load_heads(heads) if isinstance(heads, str | Path) else heads
    dimensions = heads[0].dimensions
    check_agreement(heads)
    store = open_store(store)
    if receipt is not None:
        check_receipt(Path(receipt), store)
    corpus = select_corpus(
        store, as_manifest(manifest), split=split, dimensions=dimensions, augmented=0, allow_missing=allow_missing
    )
    predicted = mean_scores(heads, store, corpus.songs)
    found = evaluation_of(corpus, predicted, split=split, dimensions=dimensions, draws=draws)
    compared = (note for one in trained_on for note in one.compare(corpus, split=split, dimensions=dimensions))
    about = (
        *describe_left_out(corpus, split=split),
        *describe_degenerate_metrics(corpus, split=split, dimensions=dimensions),
    )
    agreement = agreement_of_raters(raters, corpus.songs, dimensions=dimensions, draws=draws) if raters else {}
    notes = tuple(dict.fromkeys([*about, *compared]))
    return replace(found, raters=agreement, caution=caution_of(heads), notes=notes)


def evaluation_of(
    corpus: Corpus, predicted: NDArray[np.float32], *, split: str, dimensions: tuple[str, ...], draws: int = DRAWS
) -> Evaluation:
    """Compute all figures of predictions float32 (N, D) for the songs of a corpus."""
    means = system_means(corpus, predicted)
    system = score_metrics(*means, dimensions=dimensions) if len(means.ratings) >= FEWEST_SYSTEMS else None
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
    """Mean rating and mean score of each generating system's songs, (M, D) each, sorted by the system's name."""

    ratings: NDArray[np.floating]
    scores: NDArray[np.floating]


def system_means(corpus: Corpus, predicted: NDArray[np.floating]) -> SystemMeans:
    """The means of each system; songs without a system are ignored."""
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
    """Intervals over bootstrap samples of systems, not songs: here the choice of systems is random."""
    if len(means.ratings) < FEWEST_FOR_INTERVALS:
        return None
    return bootstrap_intervals(*means, dimensions=dimensions, draws=draws)
