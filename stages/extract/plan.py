"""What is to be extracted: a task is a song, with the views of it that the store lacks."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from stages.songs import Song


class Records(Protocol):
    """What a plan asks of a store: is this record there?"""

    def has(self, song: str, view: int) -> bool:
        """Whether the record (song, view) is stored."""


@dataclass(frozen=True)
class SongTask:
    """One song and the views of it to make, in order; view 0 is the clean song."""

    song_id: str
    path: Path
    views: tuple[int, ...]


@dataclass(frozen=True)
class Plan:
    """The tasks in the manifest's order, and how many records are stored already."""

    tasks: tuple[SongTask, ...]
    stored: int

    @property
    def records(self) -> int:
        """Number of records to make."""
        return sum(len(task.views) for task in self.tasks)


def views_of(song: Song, *, augment: int) -> tuple[int, ...]:
    """Views that a song should have: training songs 0…augment, all others view 0 alone."""
    return tuple(range(augment + 1)) if song.split == "train" else (0,)


def plan_extraction(songs: Sequence[Song], *, augment: int, records: Records) -> Plan:
    """Compare what the songs should have with what is stored."""
    tasks: list[SongTask] = []
    stored = 0
    for song in songs:
        wanted = views_of(song, augment=augment)
        missing = tuple(view for view in wanted if not records.has(song.song_id, view))
        stored += len(wanted) - len(missing)
        if missing:
            tasks.append(SongTask(song.song_id, song.path, missing))
    return Plan(tuple(tasks), stored)
