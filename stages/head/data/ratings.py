"""The ratings that a head was trained and validated on, saved beside it so that later changes are noticed.

ratings.csv      one row per song: song_id, split, and one column per dimension
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from stages.head.data.corpus import Corpus
from stages.head.errors import HeadError
from stages.head.files import read_csv, write_csv

RATINGS = "ratings.csv"

# Song id → its ratings in the order of the dimensions, rounded to float32 as in training.
SongRatings = Mapping[str, tuple[float, ...]]


@dataclass(frozen=True, kw_only=True)
class Ratings:
    """Ratings of the songs of some splits, by the split's name."""

    dimensions: tuple[str, ...]
    splits: Mapping[str, SongRatings]

    def digests(self) -> dict[str, str]:
        """One hash per split, 16 hexadecimal digits, of ids, dimensions and ratings, in any order of songs."""
        return {split: _digest(rated, self.dimensions) for split, rated in self.splits.items()}

    def difference(self, now: "Ratings") -> str:
        """Describe how other ratings differ from these; empty if they do not."""
        if now.dimensions != self.dimensions:
            return f"ratings were of {', '.join(self.dimensions)}, now they are of {', '.join(now.dimensions)}"
        splits = dict.fromkeys([*self.splits, *now.splits])
        texts = (
            _difference(each, self.splits.get(each, {}), now.splits.get(each, {}), self.dimensions) for each in splits
        )
        return "; ".join(text for text in texts if text)


def ratings_of(dimensions: Sequence[str], **splits: Corpus) -> Ratings:
    """The ratings of the songs of each split."""
    return Ratings(
        dimensions=tuple(dimensions),
        splits={
            split: {song: tuple(row) for song, row in zip(corpus.songs, corpus.ratings.tolist(), strict=True)}
            for split, corpus in splits.items()
        },
    )


def write_ratings(path: Path, ratings: Ratings) -> None:
    """Write `ratings.csv`; `read_ratings` returns ratings with the same digests.

    Raises
    ------
    HeadError
        It cannot be written.
    """
    rows = ([song, split, *map(_text, row)] for split, rated in ratings.splits.items() for song, row in rated.items())
    write_csv(path, ["song_id", "split", *ratings.dimensions], rows)


def read_ratings(path: Path) -> Ratings:
    """Read `ratings.csv`.

    Raises
    ------
    HeadError
        It cannot be read, or was not written by `write_ratings`.
    """
    try:
        header, *rows = read_csv(path)
        dimensions = tuple(header[2:])
        splits: dict[str, dict[str, tuple[float, ...]]] = {}
        for number, (song, split, *cells) in enumerate(rows, start=1):
            if len(cells) != len(dimensions):
                raise ValueError(f"row {number} has {len(cells)} ratings, expected {len(dimensions)}")
            splits.setdefault(split, {})[song] = tuple(float(np.float32(cell)) for cell in cells)
    except (HeadError, ValueError) as error:
        reason = str(error).removeprefix(f"{path}: cannot be read: ")
        raise HeadError(f"{path}: cannot be read as a run's ratings: {reason}; restore or remove the file") from error
    return Ratings(dimensions=dimensions, splits=splits)


def _text(rating: float) -> str:
    """The shortest text for this float32: 3.3, not 3.299999952316284."""
    return str(np.float32(rating))


def _digest(rated: SongRatings, dimensions: Sequence[str]) -> str:
    songs = sorted(rated)
    digest = hashlib.sha256(json.dumps([list(dimensions), songs]).encode())
    digest.update(np.array([rated[song] for song in songs], "<f4").tobytes())
    return digest.hexdigest()[:16]


def _difference(split: str, before: SongRatings, now: SongRatings, dimensions: Sequence[str]) -> str:
    changed = [song for song, row in before.items() if song in now and now[song] != row]
    removed = [song for song in before if song not in now]
    added = [song for song in now if song not in before]
    parts = []
    if changed:
        song = changed[0]
        one = next(
            f"{name} was {_text(old)}, now it is {_text(value)}"
            for name, old, value in zip(dimensions, before[song], now[song], strict=True)
            if old != value
        )
        parts.append(f"{len(changed)} of {len(before)} {split} songs have other ratings, the first is {song!r} ({one})")
    for songs, what in ((removed, "removed from"), (added, "added to")):
        if songs:
            parts.append(f"{what} {split}: {len(songs)}, the first is {songs[0]!r}")
    return "; ".join(parts)
