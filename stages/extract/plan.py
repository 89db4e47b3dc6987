"""The plan of an extraction: one task per song, with its missing views and those made from an older file."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from stages.extract.freshness import Freshness, Rows
from stages.songs import Song


@dataclass(frozen=True)
class SongTask:
    """One song and its views to make, in order; view 0 is the clean song.

    `replaces` maps views to the digests of stored records of an older file, which are replaced.
    """

    song_id: str
    path: Path
    views: tuple[int, ...]
    replaces: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Plan:
    """The tasks in the manifest's order, and the number of stored records that are kept.

    `sources` compares records with files; `replaced_frames` is the total length of the records to be replaced.
    """

    tasks: tuple[SongTask, ...]
    stored: int
    sources: Freshness = field(default_factory=Freshness)
    replaced_frames: int = 0

    @property
    def records(self) -> int:
        """Number of records to make."""
        return sum(len(task.views) for task in self.tasks)


def views_of(song: Song, *, augment: int) -> tuple[int, ...]:
    """Views that a song should have: 0…augment for training songs, only 0 for all others."""
    return tuple(range(augment + 1)) if song.split == "train" else (0,)


def plan_extraction(songs: Sequence[Song], *, augment: int, rows: Rows, sources: Freshness) -> Plan:
    """Compare the views that the songs should have with the stored records.

    All stored views of a changed song are made again, including those beyond `augment`, so that no record of the
    old audio remains.

    Parameters
    ----------
    rows
        The store's records; empty if there is no store yet.
    sources
        The comparison of these records with the songs' files.
    """
    stale: dict[str, dict[int, str]] = defaultdict(dict)
    for song_id, view in sorted(sources.stale):
        stale[song_id][view] = rows[song_id, view].digest
    tasks: list[SongTask] = []
    stored = 0
    for song in songs:
        wanted, replaces = views_of(song, augment=augment), stale.get(song.song_id, {})
        missing = {view for view in wanted if (song.song_id, view) not in rows}
        stored += len(set(wanted) - missing - replaces.keys())
        if missing or replaces:
            tasks.append(SongTask(song.song_id, song.path, tuple(sorted(missing | replaces.keys())), replaces))
    return Plan(tuple(tasks), stored, sources, sum(rows[record].frames for record in sources.stale))
