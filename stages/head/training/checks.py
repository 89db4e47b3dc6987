"""Checks of a run's songs before its first epoch: errors are raised, oddities are described."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch

from stages.head.checkpoint.encoders import store_caution
from stages.head.config import TrainConfig
from stages.head.data.corpus import Corpus
from stages.head.data.epoch_plan import Item
from stages.head.data.reader import Reader
from stages.head.data.resident import Resident, resident_gigabytes
from stages.head.data.splits import Data
from stages.head.errors import HeadError
from stages.metrics.agreement import THRESHOLDS
from store.errors import HearError


def check_records(data: Data, whole: Reader) -> None:
    """Find records that would end the run, some only after its first epoch.

    Every record must have enough frames for one patch, according to the store's catalogue. Validation songs are also
    read, which checks their metadata, their checksums, and that their values are finite. If `whole` holds them,
    the first validation finds them there.

    Parameters
    ----------
    data
        The songs of both splits.
    whole
        Reads the validation songs.

    Raises
    ------
    HeadError
        Records are too short or cannot be read; the message counts them and names the first.
    """
    for split, corpus in (("train", data.train), ("val", data.val)):
        records = corpus.records()
        short = [record for record in records if data.store.rows[record].frames < whole.records.stride]
        if short:
            song, view = short[0]
            raise HeadError(
                f"{data.store.root}: {len(short)} of {len(records)} {split} records are shorter than the "
                f"{whole.records.stride} frames that a head needs, the first is song {song!r} view {view} with "
                f"{data.store.rows[short[0]].frames}; remove such songs from the manifest"
            )
    reasons = {song: reason for song in data.val.songs if (reason := _why_unusable(whole, song))}
    if reasons:
        song, reason = next(iter(reasons.items()))
        raise HeadError(
            f"{len(reasons)} of {len(data.val.songs)} val songs cannot be scored, the first is {song!r}: {reason}"
        )


def _why_unusable(whole: Reader, song: str) -> str:
    """Why a song cannot be scored; empty if it can."""
    try:
        # A NaN is both the least and the greatest value.
        limits = [limit for packed in whole.read([(Item(song, 0, 0.0),)]) for limit in packed.frames.aminmax()]
    except HearError as error:
        return str(error)
    if all(map(torch.isfinite, limits)):
        return ""
    root = whole.records.store.root
    return f"{root}: values are NaN or infinite; run hear-store verify --repair, then extract this song again"


def describe_data(data: Data, config: TrainConfig) -> list[str]:
    """Describe oddities of a run's songs that a user should know before trusting its figures, one sentence each."""
    caution = store_caution(data.store, data.streams)
    return [
        *([caution] if caution else []),
        *describe_left_out(data.train, split="train"),
        *_describe_training_songs(data, config),
        *describe_left_out(data.val, split="val"),
        *describe_degenerate_metrics(data.val, split="val", dimensions=data.dimensions),
    ]


def describe_resident(data: Data, config: TrainConfig, resident: Resident) -> Iterator[str]:
    """Say how many training records are held, if that changes the run's numbers."""
    if config.resident != "stored":
        count, size = len(data.train.records()), resident_gigabytes(data, config, resident._replace(val=False))
        rest = "" if resident.train == count else "; the others are read for each batch"
        yield f"{resident.train} of {count} training records are held as {config.resident}, {size:.1f} GB{rest}"


def describe_left_out(corpus: Corpus, *, split: str) -> Iterator[str]:
    """Say which songs of a split are left out, and why."""
    for songs, why in ((corpus.unrated, "without a rating"), (corpus.missing, "that the store lacks")):
        if songs:
            yield f"left out {len(songs)} {split} {_songs(songs)} {why}, the first is {songs[0]!r}"


def describe_degenerate_metrics(corpus: Corpus, *, split: str, dimensions: Sequence[str]) -> Iterator[str]:
    """Say which metrics of these songs are 0 for any head."""
    if len(corpus.songs) == 1:
        yield f"only one {split} song: LCC, SRCC and KTAU are 0"
    elif constant := _constant(corpus, dimensions):
        yield f"all {split} songs have the same rating of {', '.join(constant)}: LCC, SRCC and KTAU are 0 there"
    highest = dict(zip(dimensions, corpus.ratings.max(axis=0).tolist(), strict=True))
    if low := [name for name, rating in highest.items() if rating < THRESHOLDS[name]]:
        yield f"no {split} song is rated high enough to count for TTA in {', '.join(low)}: TTA is 0 there"


def _describe_training_songs(data: Data, config: TrainConfig) -> Iterator[str]:
    songs = data.train.songs
    if len(songs) == 1:
        mixing = "" if config.mix == "none" else "C-Mixup has no partner for it, and "
        yield f"only one train song: {mixing}ListMLE has nothing to rank"
    elif constant := _constant(data.train, data.dimensions):
        yield f"all train songs have the same rating of {', '.join(constant)}: no differences can be learned there"
    if 1 < len(songs) < config.batch_size:
        yield f"{len(songs)} train songs are fewer than one batch of {config.batch_size}"


def _constant(corpus: Corpus, dimensions: Sequence[str]) -> list[str]:
    return [name for name, spread in zip(dimensions, np.ptp(corpus.ratings, axis=0), strict=True) if spread == 0]


def _songs(songs: Sequence[str]) -> str:
    return "song" if len(songs) == 1 else "songs"
