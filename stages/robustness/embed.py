"""Embeddings of changed songs in a store: one record per song, change and strength, as view 0 of a record's id.

A record is current if it was made from the song's present file (by hash), and from the present definition of its
change: name, strength, version, and versions of the packages that make it. Other records are replaced. Heads of the
same encoders share a store.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from stages.common.machine import count_cores
from stages.extract.audio.source import source_hash
from stages.extract.config import ExtractConfig
from stages.extract.plan import SongTask
from stages.extract.run import Extractor, Outcome, Stop, Tally
from stages.robustness.changes import Change, parse_record_id, record_id
from stages.robustness.prepare import ChangeFeed
from stages.scoring.inputs import InputSong
from store import EmbeddingStore, Spec, StoreWriter
from store.errors import HearError, StoreNotFoundError

if TYPE_CHECKING:
    from stages.extract.encoders import MultiScale

# The spec's `augmentation`, which tells these stores from those of training songs. Each record names its own change.
AUGMENTATION = "planted changes"


@dataclass(frozen=True)
class StressPlan:
    """Records to make, those that are current, and the reason for each song that cannot be read."""

    tasks: tuple[SongTask, ...]
    current: int
    unread: dict[str, str]


def stress_spec(encoders: "MultiScale", *, pool: int, dtype: str = "float16") -> Spec:
    """The spec of a store of changed songs, for heads whose frames are averages of `pool`."""
    config = ExtractConfig(preset="", muq="", musicfm="", pool=pool, dtype=dtype)
    return replace(config.spec(encoders), augmentation=AUGMENTATION)


def open_stress_store(root: str) -> EmbeddingStore | None:
    """Open a store of changed songs; None if there is none yet.

    Raises
    ------
    HearError
        The store has other songs, or cannot be read.
    """
    try:
        store = EmbeddingStore.open(root)
    except StoreNotFoundError:
        return None
    if store.spec.augmentation != AUGMENTATION:
        raise HearError(
            f"{root}: is a store of hear-extract or of another program, expected one of hear-head stress; "
            "name a new folder, which is created"
        )
    return store


def plan_stress(songs: Sequence[InputSong], changes: Sequence[Change], store: EmbeddingStore | None) -> StressPlan:
    """Compare the wanted records with the stored ones; each song is hashed once."""
    tasks: list[SongTask] = []
    unread: dict[str, str] = {}
    current = 0
    with ThreadPoolExecutor(count_cores()) as threads:
        for song, source in zip(songs, threads.map(_hash, songs), strict=True):
            if isinstance(source, HearError) or song.path is None:
                unread[song.song_id] = str(source)
                continue
            for record in record_ids(song.song_id, changes):
                row = store.rows.get((record, 0)) if store else None
                if row is None:
                    tasks.append(SongTask(record, song.path, (0,)))
                elif store is None or row.source != source or not _is_current(store, record):
                    tasks.append(SongTask(record, song.path, (0,), {0: row.digest}))
                else:
                    current += 1
    return StressPlan(tuple(tasks), current, unread)


def record_ids(song_id: str, changes: Sequence[Change]) -> list[str]:
    """The records of a song: the unchanged one first."""
    changed = [record_id(song_id, change, strength) for change in changes for strength in change.strengths]
    return [record_id(song_id), *changed]


def _hash(song: InputSong) -> str | HearError:
    if song.path is None:
        return HearError("has no file; add its path to the manifest")
    try:
        return source_hash(song.path)
    except HearError as error:
        return error


def _is_current(store: EmbeddingStore, record: str) -> bool:
    _, change, strength = parse_record_id(record)
    return bool(store.attributes(record).get("drawn") == change.identity(strength))


def make_records(
    plan: StressPlan,
    encoders: "MultiScale",
    writer: StoreWriter,
    *,
    processes: int,
    report: Callable[[Outcome], None],
    stop: Stop,
) -> Tally:
    """Encode the plan's records and write them; see `Extractor.run`."""
    feed = ChangeFeed(processes=processes)
    try:
        extractor = Extractor(encoders, writer, feed, seed=writer.spec.seed, pool=writer.spec.pool)
        return extractor.run(plan.tasks, report=report, stop=stop)
    finally:
        feed.close()
