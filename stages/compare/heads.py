"""Compare heads by their agreement with ratings: all score the same songs of a store."""

import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stages.compare.comparison import ERROR, Comparison, Difference, Figure, SystemFigures, corrected, ranked
from stages.evaluate.trained_on import TrainedOn, read_trained_on
from stages.head.checkpoint.encoders import caution_of
from stages.head.checkpoint.ensemble import check_agreement, load_heads, mean_scores
from stages.head.checkpoint.head import Head
from stages.head.data.corpus import Corpus, select_corpus
from stages.head.data.ratings import Ratings
from stages.head.errors import HeadError
from stages.head.training.checks import describe_degenerate_metrics, describe_left_out
from stages.metrics.agreement import METRICS, Metrics, score_metrics
from stages.metrics.bootstrap import interval
from stages.metrics.paired import paired_difference, resampled_means
from stages.metrics.resampling import DRAWS, Samples, resampled_metrics
from stages.metrics.unpaired import fewest_songs, songs_needed
from stages.songs import Manifest
from stages.songs.manifest_file import as_manifest
from store import EmbeddingStore, check_receipt, open_store

# The difference for which the number of songs is given: of correlations, TTA and errors.
DIFFERENCE = 0.01
MEAN = "mean"


class _Scored(NamedTuple):
    """A head: its metrics, their values over bootstrap samples, and absolute errors (N,), by dimension and `mean`."""

    name: str
    metrics: Metrics
    samples: Samples
    errors: dict[str, NDArray[np.float64]]


def compare_heads(
    checkpoints: Sequence[str | Path],
    store: EmbeddingStore | str | Path,
    manifest: Manifest | str | Path,
    *,
    split: str = "val",
    receipt: str | Path | None = None,
    allow_missing: int = 0,
    device: str = "cpu",
    difference: float = DIFFERENCE,
    draws: int = DRAWS,
) -> Comparison:
    """Compare heads by their agreement with ratings; all score the same songs.

    Per dimension and for the mean: LCC, SRCC, KTAU and TTA with the interval of the difference (bootstrap over songs,
    the same samples for both heads; p from its standard error), and the mean absolute error (Wilcoxon's signed-rank
    test). All tests are corrected together (Holm 1979).

    Parameters
    ----------
    checkpoints
        Each a head, or a folder of several that score as one, as for `load_heads`.
    store, manifest, split, receipt, allow_missing
        As for `evaluate`. Heads are compared on the dimensions that all of them have.
    device
        Where the heads run.
    difference
        The difference of interest: `Difference.needed` is the number of songs that would show it.
    draws
        Bootstrap samples.

    Returns
    -------
    Comparison
        Its notes name songs that were left out, and heads that have seen these songs in training or selection.

    Raises
    ------
    HeadError
        A head cannot be loaded or cannot score this store, is named twice, or the heads share no dimension.
    StoreError, SongsError
        As for `evaluate`.

    Examples
    --------
    >>> import hear_music as hear
    >>> found = hear.compare_heads(["models/track2"], "embeddings.zarr", "manifest.csv", draws=100)
    >>> sorted(found.systems[0].figures["Clarity"])
    ['KTAU', 'LCC', 'MAE', 'SRCC', 'TTA']
    """
    names = [str(each) for each in checkpoints]
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise HeadError(f"{twice[0]}: is named twice; name each head once")
    heads = {name: _loaded(name, device) for name in names}
    dimensions = _shared_dimensions(heads)
    store = open_store(store)
    if receipt is not None:
        check_receipt(Path(receipt), store)
    listed = as_manifest(manifest)
    corpus = select_corpus(store, listed, split=split, dimensions=dimensions, augmented=0, allow_missing=allow_missing)
    scored = [_score(name, each, store, corpus, dimensions, draws) for name, each in heads.items()]
    figures = [_figures(each, len(corpus.songs), draws) for each in scored]
    pairs = list(itertools.combinations(scored, 2))
    tests = corrected(
        [
            test
            for first, second in pairs
            for test in _differences(first, second, len(corpus.songs), difference, draws, together=len(pairs))
        ]
    )
    about = (
        f"{len(corpus.songs)} {split} songs, {', '.join(dimensions)}",
        *describe_left_out(corpus, split=split),
        *describe_degenerate_metrics(corpus, split=split, dimensions=dimensions),
        *(note for name in heads for note in _seen(name, corpus, dimensions, split)),
    )
    cautions = [found for each in heads.values() if (found := caution_of(each))]
    return Comparison(
        kind="heads", systems=ranked(figures, tests), differences=tests, notes=about, caution="".join(cautions[:1])
    )


def _loaded(name: str, device: str) -> list[Head]:
    heads = load_heads(name, device=device)
    check_agreement(heads)
    return heads


def _shared_dimensions(heads: dict[str, list[Head]]) -> tuple[str, ...]:
    all_of = [each[0].dimensions for each in heads.values()]
    shared = tuple(name for name in all_of[0] if all(name in names for names in all_of))
    if not shared:
        found = "; ".join(f"{name}: {', '.join(each[0].dimensions)}" for name, each in heads.items())
        raise HeadError(f"the heads share no dimension, found {found}; compare heads of the same ratings")
    return shared


def _score(
    name: str, heads: Sequence[Head], store: EmbeddingStore, corpus: Corpus, dimensions: tuple[str, ...], draws: int
) -> _Scored:
    columns = [heads[0].dimensions.index(each) for each in dimensions]
    predicted = mean_scores(heads, store, corpus.songs)[:, columns]
    errors = np.abs(predicted.astype(np.float64) - corpus.ratings)
    by_name = {each: errors[:, number] for number, each in enumerate(dimensions)}
    metrics = score_metrics(corpus.ratings, predicted, dimensions=dimensions)
    if len(dimensions) == 1:  # its mean is no further figure
        del metrics[MEAN]
    samples = resampled_metrics(corpus.ratings, predicted, dimensions=dimensions, draws=draws)
    return _Scored(name, metrics, samples, {**by_name, MEAN: errors.mean(axis=1)})


def _figures(head: _Scored, songs: int, draws: int) -> SystemFigures:
    figures = {}
    for name, row in head.metrics.items():
        ends = {metric: interval(head.samples[name][metric]) for metric in METRICS}
        low, high = interval(resampled_means(head.errors[name], draws=draws))
        figures[name] = {
            **{metric: Figure(value=row[metric], low=ends[metric][0], high=ends[metric][1]) for metric in METRICS},
            ERROR: Figure(value=float(head.errors[name].mean()), low=low, high=high),
        }
    return SystemFigures(name=head.name, songs=songs, left_out={}, figures=figures)


def _differences(
    first: _Scored, second: _Scored, songs: int, interest: float, draws: int, *, together: int
) -> Iterator[Difference]:
    """All tests of a pair of heads; as many of each of the `together` pairs are corrected with them."""
    from scipy.stats import norm

    tests = together * len(first.metrics) * (len(METRICS) + 1)

    def needed(deviation: float, *, ranks: bool) -> int | None:
        least = fewest_songs(tests, paired=True) if ranks else 2
        return max(least, songs_needed(deviation, interest, tests=tests, ranks=ranks)) if songs > 1 else None

    for name in first.metrics:
        for metric in METRICS:
            value = first.metrics[name][metric] - second.metrics[name][metric]
            samples = first.samples[name][metric] - second.samples[name][metric]
            low, high = interval(samples)
            error = float(samples.std(ddof=1))
            yield Difference(
                first=first.name, second=second.name, dimension=name, metric=metric, family="heads", paired=True,
                songs=(songs, songs), value=value, low=low, high=high,
                p=float(2 * norm.sf(abs(value) / error)) if error else 1.0, win_rate=None, interest=interest,
                needed=needed(error * songs**0.5, ranks=False),
            )  # fmt: skip
        left, right = first.errors[name], second.errors[name]
        test = paired_difference(left, right, draws=draws)
        yield Difference(
            first=first.name, second=second.name, dimension=name, metric=ERROR, family="heads", paired=True,
            songs=(songs, songs), value=test.mean, low=test.low, high=test.high, p=test.p,
            win_rate=1 - test.win_rate, interest=interest,
            needed=needed(float(np.std(left - right, ddof=min(1, songs - 1))), ranks=True),
        )  # fmt: skip


def _seen(name: str, corpus: Corpus, dimensions: tuple[str, ...], split: str) -> Iterator[str]:
    """Notes on songs that the heads of a checkpoint were trained or selected on, each once."""
    songs = set(corpus.songs)
    found: dict[str, None] = {}
    for one in read_trained_on(name):
        found |= dict.fromkeys(_among(one, dimensions).compare(corpus, split=split, dimensions=dimensions))
        chosen = songs & set(one.ratings.splits.get("val", ())) if one.ratings else set()
        if chosen:
            found[
                f"its best epoch was chosen on {len(chosen)} of these {len(songs)} songs: its figures are optimistic"
            ] = None
    yield from (f"{name}: {note}" for note in found)


def _among(one: TrainedOn, dimensions: tuple[str, ...]) -> TrainedOn:
    """The same training data with the ratings of these dimensions alone."""
    if one.ratings is None or one.ratings.dimensions == dimensions:
        return one
    columns = [one.ratings.dimensions.index(name) for name in dimensions]
    splits = {
        split: {song: tuple(row[column] for column in columns) for song, row in rated.items()}
        for split, rated in one.ratings.splits.items()
    }
    return replace(one, digests={}, ratings=Ratings(dimensions=dimensions, splits=splits))
