"""What is wrong or odd with the songs of a run, found before its first epoch: errors are raised, oddities are told."""

from collections.abc import Iterator, Sequence

import numpy as np

from stages.head.checkpoint.encoders import store_caution
from stages.head.config import TrainConfig
from stages.head.data.corpus import Corpus
from stages.head.data.epoch_plan import Item
from stages.head.data.records import Records
from stages.head.data.splits import Data
from stages.head.errors import HeadError
from stages.metrics.agreement import THRESHOLDS
from store.errors import HearError
from store.format.quantisation import all_finite


def check_records(data: Data, whole: Records) -> None:
    """Find records that would end the run: after its first epoch, in the case of those that validate.

    Every record must have frames enough for one patch, by the store's catalogue. Validation songs are read, too: with
    that their metadata and checksums are checked, and that their values are finite. Where `whole` holds what it has
    read, the first validation finds it there.

    Parameters
    ----------
    data
        The songs of both splits.
    whole
        What reads the validation songs.

    Raises
    ------
    HeadError
        Records are too short or cannot be read; the message counts them and names the first.
    """
    for split, corpus in (("train", data.train), ("val", data.val)):
        records = corpus.records()
        short = [record for record in records if data.store.rows[record].frames < whole.stride]
        if short:
            song, view = short[0]
            raise HeadError(
                f"{data.store.root}: {len(short)} of {len(records)} {split} records are shorter than the "
                f"{whole.stride} frames that a head needs, the first is song {song!r} view {view} with "
                f"{data.store.rows[short[0]].frames}; remove such songs from the manifest"
            )
    problems = {song: problem for song in data.val.songs if (problem := _problem(whole, song))}
    if problems:
        song, problem = next(iter(problems.items()))
        raise HeadError(
            f"{len(problems)} of {len(data.val.songs)} val songs cannot be validated with, "
            f"the first is {song!r}: {problem}"
        )


def _problem(whole: Records, song: str) -> str:
    """Why a song cannot be scored; empty if it can."""
    try:
        frames = whole[(Item(song, 0, 0.0),)].frames
    except HearError as error:
        return str(error)
    if all_finite(frames.numpy()):
        return ""
    return f"{whole.root}: values are NaN or infinite; run hear-store verify --repair, then extract this song again"


def describe_data(data: Data, config: TrainConfig) -> list[str]:
    """What a user should know of the songs of a run before believing its figures, one sentence each."""
    caution = store_caution(data.store, data.streams)
    return [
        *([caution] if caution else []),
        *left_out(data.train, split="train"),
        *_few_to_learn_from(data, config),
        *left_out(data.val, split="val"),
        *little_to_measure_by(data.val, split="val", dimensions=data.dimensions),
    ]


def left_out(corpus: Corpus, *, split: str) -> Iterator[str]:
    """Which songs of a split do not take part, and why."""
    for songs, why in ((corpus.unrated, "without a rating"), (corpus.missing, "that the store lacks")):
        if songs:
            yield f"left out {len(songs)} {split} {_songs(songs)} {why}, the first is {songs[0]!r}"


def little_to_measure_by(corpus: Corpus, *, split: str, dimensions: Sequence[str]) -> Iterator[str]:
    """Which metrics of these songs count 0 whatever a head says of them."""
    if len(corpus.songs) == 1:
        yield f"one {split} song: LCC, SRCC and KTAU count 0"
    elif constant := _constant(corpus, dimensions):
        yield f"all {split} songs have the same rating of {', '.join(constant)}: LCC, SRCC and KTAU count 0 there"
    highest = dict(zip(dimensions, corpus.ratings.max(axis=0).tolist(), strict=True))
    if low := [name for name, rating in highest.items() if rating < THRESHOLDS[name]]:
        yield f"no {split} song is rated high enough to count for TTA in {', '.join(low)}: TTA is 0 there"


def _few_to_learn_from(data: Data, config: TrainConfig) -> Iterator[str]:
    songs = data.train.songs
    if len(songs) == 1:
        mixing = "" if config.mix == "none" else "C-Mixup has no partner for it, and "
        yield f"one train song: {mixing}ListMLE has nothing to rank"
    elif constant := _constant(data.train, data.dimensions):
        yield f"all train songs have the same rating of {', '.join(constant)}: no differences can be learned there"
    if 1 < len(songs) < config.batch_size:
        yield f"{len(songs)} train songs are fewer than one batch of {config.batch_size}"


def _constant(corpus: Corpus, dimensions: Sequence[str]) -> list[str]:
    return [name for name, spread in zip(dimensions, np.ptp(corpus.ratings, axis=0), strict=True) if spread == 0]


def _songs(songs: Sequence[str]) -> str:
    return "song" if len(songs) == 1 else "songs"
