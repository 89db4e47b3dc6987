"""What is to be extracted: a task is a song, with the views of it that the store lacks."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from stages.songs import Song


class Records(Protocol):
    """What a plan asks of a store, once: which of these records are there?"""

    def existing(self, records: Iterable[tuple[str, int]]) -> set[tuple[str, int]]:
        """Those of the records (song, view) that are stored."""


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


def plan_extraction(songs: Sequence[Song], *, augment: int, records: Records | None) -> Plan:
    """Compare what the songs should have with what is stored; `records` is None where there is no store yet."""
    wanted = [(song.song_id, view) for song in songs for view in views_of(song, augment=augment)]
    stored = records.existing(wanted) if records is not None else set()
    tasks: list[SongTask] = []
    for song in songs:
        views = views_of(song, augment=augment)
        missing = tuple(view for view in views if (song.song_id, view) not in stored)
        if missing:
            tasks.append(SongTask(song.song_id, song.path, missing))
    return Plan(tuple(tasks), len(stored))
