"""Whether stored records match the songs' current files, by size and modification time, and by hash if these differ.

A record without its file's hash, as after an import, cannot be compared and counts as fresh. A record without size and
time, as older versions wrote it, is compared by hash. Results of hashing are kept in the store's catalogue
(`store.sources`), so that a file that was only touched or copied is hashed once. A file with other content but the same
size and time is only found by `SourceCheck`, which hashes every file.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stages.common.machine import count_cores
from stages.extract.audio.source import FileStamp, SourceFile, file_stamp, read_source
from stages.extract.audio.waveform import AudioError
from stages.songs import Song
from stages.songs.errors import shown
from store import CatalogueRow, EmbeddingStore
from store.errors import HearError, StoreError
from store.progress import Progress
from store.sources import SeenFile, read_seen_files, write_seen_files

# Files that are hashed at a time: one per core, and not too many for a disk.
THREADS = 8

Rows = Mapping[tuple[str, int], CatalogueRow]


@dataclass(frozen=True)
class Freshness:
    """The result of a comparison.

    Attributes
    ----------
    stale
        Records (song, view) made from another file than the song's current one.
    missing
        Song → why its file cannot be compared with its records, for example because it is missing.
    hashed
        Song → its file, if it had to be hashed and matches the stored records.
    """

    stale: frozenset[tuple[str, int]] = frozenset()
    missing: Mapping[str, str] = field(default_factory=dict)
    hashed: Mapping[str, SourceFile] = field(default_factory=dict)

    @property
    def changed(self) -> tuple[str, ...]:
        """Songs with stale records, sorted."""
        return tuple(sorted({song for song, _ in self.stale}))


def compare_sources(
    songs: Iterable[Song], rows: Rows, *, seen: Mapping[str, SeenFile] | None = None, progress: Progress = iter
) -> Freshness:
    """Compare the records of songs with the songs' current files.

    Parameters
    ----------
    songs
        The songs with their files.
    rows
        The store's records.
    seen
        Song → its file when it was last hashed; see `store.sources`.
    progress
        Wraps the iterable of files to hash, for example in a progress bar.
    """
    recorded = _recorded(rows)
    paths = {song.song_id: song.path for song in songs if song.song_id in recorded}
    stamps, missing = _stamps(paths)
    known = {song: file.source for song, file in (seen or {}).items() if stamps.get(song) == file[1:]}
    doubtful = {
        song: stamp
        for song, stamp in stamps.items()
        if song not in known and any(_stamp(row) != stamp for row in recorded[song])
    }
    hashed, unread = _hash({song: (paths[song], stamp) for song, stamp in doubtful.items()}, progress)
    known |= {song: file.hash for song, file in hashed.items()}
    stale = frozenset(
        (song, row.view)
        for song, hash_ in known.items()
        for row in recorded[song]
        if _stamp(row) != stamps[song] and row.source != hash_
    )
    changed = {song for song, _ in stale}
    same = {song: file for song, file in hashed.items() if song not in changed}
    return Freshness(stale, {**missing, **unread}, same)


def _recorded(rows: Rows) -> dict[str, list[CatalogueRow]]:
    """The records of each song that have their file's hash."""
    recorded: dict[str, list[CatalogueRow]] = defaultdict(list)
    for row in rows.values():
        if row.source is not None:
            recorded[row.song_id].append(row)
    return recorded


def _stamp(row: CatalogueRow) -> tuple[int | None, int | None]:
    return row.source_size, row.source_mtime_ns


def _stamps(paths: Mapping[str, Path]) -> tuple[dict[str, FileStamp], dict[str, str]]:
    """Song → its file's stamp; and song → why its file has none."""
    stamps: dict[str, FileStamp] = {}
    missing: dict[str, str] = {}
    for song, path in paths.items():
        try:
            stamps[song] = file_stamp(path)
        except AudioError as error:
            missing[song] = str(error)
    return stamps, missing


def _hash(
    files: Mapping[str, tuple[Path, FileStamp]], progress: Progress
) -> tuple[dict[str, SourceFile], dict[str, str]]:
    """Song → its hashed file; and song → why its file cannot be read."""
    hashed: dict[str, SourceFile] = {}
    unread: dict[str, str] = {}
    threads = ThreadPoolExecutor(min(THREADS, count_cores()), thread_name_prefix="hash")
    try:
        pending = [(song, threads.submit(read_source, path, since=stamp)) for song, (path, stamp) in files.items()]
        for song, future in progress(pending) if pending else ():
            try:
                hashed[song] = future.result()
            except AudioError as error:
                unread[song] = str(error)
    finally:
        # Ctrl-C need not wait for the remaining files.
        threads.shutdown(cancel_futures=True)
    return hashed, unread


def stored_freshness(store: EmbeddingStore, songs: Iterable[Song], *, progress: Progress = iter) -> Freshness:
    """Compare a store's records of songs with the songs' current files; see `compare_sources`.

    Raises
    ------
    StoreError
        The store cannot be read, or a record is damaged.
    """
    return compare_sources(songs, store.rows, seen=read_seen_files(store.root), progress=progress)


def remember_hashes(root: str, hashed: Mapping[str, SourceFile]) -> None:
    """Record in the store that these songs' current files match their records.

    This only saves time, so a store that cannot be written is not an error.
    """
    if hashed:
        seen = {song: SeenFile(file.hash, *file.stamp) for song, file in hashed.items()}
        with suppress(StoreError):
            write_seen_files(root, {**read_seen_files(root), **seen})


def remembered_freshness(store: EmbeddingStore, songs: Iterable[Song], *, progress: Progress = iter) -> Freshness:
    """Like `stored_freshness`, and keep the hashes with `remember_hashes`."""
    found = stored_freshness(store, songs, progress=progress)
    remember_hashes(store.root, found.hashed)
    return found


class StaleError(HearError):
    """Stored records do not match the songs' current files."""


def refuse_changed(
    store: EmbeddingStore, songs: Sequence[Song], *, say: Callable[[str], None], progress: Progress = iter
) -> None:
    """Refuse songs that changed since extraction; `say` gets a note about songs whose files cannot be compared.

    Raises
    ------
    StaleError
        A song's file has changed since its record was made.
    StoreError
        The store cannot be read, or a record is damaged.
    """
    found = remembered_freshness(store, songs, progress=progress)
    if found.changed:
        first = found.changed[0]
        path = next(song.path for song in songs if song.song_id == first)
        count = f"{len(found.changed)} of {len(songs)} songs" if len(songs) > 1 else "the song"
        raise StaleError(
            f"{store.root}: {count} changed since extraction, the first is {first!r} ({shown(path)}); "
            "run hear-extract again"
        )
    if found.missing:
        reason = next(iter(found.missing.values()))
        say(
            f"note: {len(found.missing)} of {len(songs)} songs cannot be compared with their stored records, "
            f"the first: {reason}"
        )


@dataclass
class SourceCheck:
    """Checks single records for `store.verify`, by hashing every file, even with unchanged size and time.

    Attributes
    ----------
    songs
        The songs with their files. Records of other songs are not checked.
    missing
        Song → why its file cannot be read, for the checked songs.
    compared
        Records (song, view) that were compared.
    """

    songs: Sequence[Song]
    missing: dict[str, str] = field(default_factory=dict)
    compared: set[tuple[str, int]] = field(default_factory=set)

    def __post_init__(self) -> None:
        """Index the songs by id."""
        self._paths = {song.song_id: song.path for song in self.songs}
        self._hashes: dict[str, str] = {}

    def __call__(self, attributes: Mapping[str, Any]) -> str:
        """Why a record with these attributes is stale; empty if it is not, or if that is unknown."""
        song, source = str(attributes.get("song_id")), attributes.get("source")
        if song not in self._paths or not isinstance(source, str):
            return ""
        found = self._hash(song)
        if not found:
            return ""
        view = int(attributes["view"])
        self.compared.add((song, view))
        if found == source:
            return ""
        where = shown(self._paths[song])
        return f"song {song!r} view {view} was made from another file than {where}; --repair, then hear-extract again"

    def _hash(self, song: str) -> str:
        """Hash of the song's file; empty if it cannot be read."""
        if song not in self._hashes:
            path = self._paths[song]
            try:
                self._hashes[song] = read_source(path, since=file_stamp(path)).hash
            except AudioError as error:
                self._hashes[song], self.missing[song] = "", str(error)
        return self._hashes[song]
