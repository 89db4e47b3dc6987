"""`manifest.csv` as typed values.

Columns: `song_id, path, split, system`, then one column per label. Paths are relative to the manifest. `split` is
train, val or test. `system` names the system that generated the song and may be empty. The five dimensions hold ratings
from 1 to 5, empty for songs without ratings. Other columns are kept as text, for probes.
"""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stages.songs.errors import SongsError

# The order of the paper, of the heads' outputs and of every table.
DIMENSIONS = ("Coherence", "Musicality", "Memorability", "Clarity", "Naturalness")
SPLITS = ("train", "val", "test")
# Similarity of names such as `Coherance` and `Coherence`.
_ALIKE = 0.8


@dataclass(frozen=True)
class Song:
    """One song.

    Attributes
    ----------
    song_id, path, split, system
        Its id, the absolute path of its audio file, `train`, `val` or `test`, and its generating system (may be empty).
    labels
        Dimension → mean rating, 1 to 5; only the dimensions that were rated.
    extra
        All other columns, as text.

    Examples
    --------
    >>> import hear_music as hear
    >>> song = hear.read_manifest("manifest.csv").songs[0]
    >>> song.song_id, song.split, song.labels["Musicality"]
    ('song 0', 'val', 1.5)
    """

    song_id: str
    path: Path
    split: str
    system: str = ""
    labels: Mapping[str, float] = field(default_factory=dict)
    extra: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Manifest:
    """The songs of one `manifest.csv`; made by `read_manifest`.

    Attributes
    ----------
    path
        The file.
    songs
        In the file's order; their ids are unique.

    Examples
    --------
    >>> import hear_music as hear
    >>> manifest = hear.read_manifest("manifest.csv")
    >>> [song.song_id for song in manifest.split("val")]
    ['song 0', 'song 4']
    >>> manifest.column("system")["song 1"]
    'b'
    """

    path: Path
    songs: tuple[Song, ...]

    def split(self, name: str) -> tuple[Song, ...]:
        """Songs of one split, in the manifest's order.

        Raises
        ------
        SongsError
            The split has no songs.
        """
        chosen = tuple(song for song in self.songs if song.split == name)
        if not chosen:
            raise SongsError(f"{self.path}: no song has split {name!r}; found {self._counts()}")
        return chosen

    def among(self, *splits: str) -> tuple[Song, ...]:
        """Songs of some splits, in the manifest's order; possibly none."""
        return tuple(song for song in self.songs if song.split in splits)

    def counts(self) -> dict[str, int]:
        """Number of songs per split, without empty splits."""
        counts = {name: sum(song.split == name for song in self.songs) for name in SPLITS}
        return {name: count for name, count in counts.items() if count}

    def _counts(self) -> str:
        return ", ".join(f"{count} {name}" for name, count in self.counts().items())

    def column(self, name: str) -> dict[str, str]:
        """One column as text, by song id, without empty cells.

        Raises
        ------
        SongsError
            There is no such column.
        """
        values = {song.song_id: _cell(song, name) for song in self.songs}
        if all(value is None for value in values.values()):
            raise SongsError(f"{self.path}: no column {name!r}; found {', '.join(self.columns())}")
        return {song_id: value for song_id, value in values.items() if value}

    def columns(self) -> tuple[str, ...]:
        """Names of all columns except song_id, path and split."""
        labels = [name for name in DIMENSIONS if any(name in song.labels for song in self.songs)]
        extra = dict.fromkeys(name for song in self.songs for name in song.extra)
        return ("system", *labels, *extra)

    def labels(self, songs: Sequence[Song], dimensions: Sequence[str] = DIMENSIONS) -> NDArray[np.float32]:
        """Ratings of `songs`, float32 (N, D), 1 to 5.

        Raises
        ------
        SongsError
            A song has no rating in one of the dimensions.
        """
        for song in songs:
            missing = [name for name in dimensions if name not in song.labels]
            if missing:
                what = f"song {song.song_id!r} has no label for {', '.join(missing)}"
                raise SongsError(f"{self.path}: {what}{self._misspelt()}")
        rows = [[song.labels[name] for name in dimensions] for song in songs]
        return np.array(rows, dtype=np.float32).reshape(len(songs), len(dimensions))

    def _misspelt(self) -> str:
        """A suggestion about a column that may be a misspelt dimension; empty if there is none."""
        columns = self.columns()
        near = {name: near_dimension(name, present=columns) for name in columns if name not in DIMENSIONS}
        return next((f"; did you mean column {name!r}? Rename it {new}" for name, new in near.items() if new), "")


def near_dimension(name: str, *, present: Sequence[str]) -> str:
    """The dimension, among those not in `present`, whose name is similar to a column's; empty if none is."""
    absent = {dimension.casefold(): dimension for dimension in DIMENSIONS if dimension not in present}
    close = difflib.get_close_matches(name.strip().casefold(), absent, n=1, cutoff=_ALIKE)
    return absent[close[0]] if close else ""


def _cell(song: Song, name: str) -> str | None:
    if name == "system":
        return song.system
    if name in DIMENSIONS:
        return repr(song.labels[name]) if name in song.labels else None
    return song.extra.get(name)
