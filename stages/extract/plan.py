"""What is to be extracted: a task is a song, with the views of it that the store lacks or has of another file."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from stages.extract.freshness import Freshness, Rows
from stages.songs import Song


@dataclass(frozen=True)
class SongTask:
    """One song and the views of it to make, in order; view 0 is the clean song.

    `replaces` has the digests of the stored records, by view, that are of another file and are replaced.
    """

    song_id: str
    path: Path
    views: tuple[int, ...]
    replaces: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Plan:
    """The tasks in the manifest's order, and how many records are stored already and stay.

    `sources` is what comparing records with files has found; `replaced_frames` is the length of what is replaced.
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
    """Views that a song should have: training songs 0…augment, all others view 0 alone."""
    return tuple(range(augment + 1)) if song.split == "train" else (0,)


def plan_extraction(songs: Sequence[Song], *, augment: int, rows: Rows, sources: Freshness) -> Plan:
    """Compare what the songs should have with what is stored.

    All stored views of a song that has changed are made again, also those beyond `augment`: else old audio would stay
    among the new.

    Parameters
    ----------
    rows
        The store's records; empty where there is no store yet.
    sources
        What comparing these with the songs' files has found.
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
