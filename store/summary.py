"""Pooled summaries: each record as the mean and standard deviation over time of every channel.

They are cached in the catalogue on request, in parts of up to 1,024 records, each an array of its own
(stream, record, 2·channel). A part's attributes name the digest of every record in it; a row whose record has changed
since is computed again.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from store.backends.objects import Objects
from store.backends.opening import open_objects
from store.catalogue import CatalogueRow, index
from store.errors import StoreError
from store.format.arrays import get_array, put_array, remove_array
from store.format.keys import CATALOGUE, METADATA, SHARD
from store.format.metadata import ArrayInfo
from store.progress import Progress
from store.reader import EmbeddingStore

PART_RECORDS = 1024
_PARTS = f"{CATALOGUE}/summaries"


@dataclass(frozen=True)
class Summary:
    """The table of records, and float32 values (records, streams, 2·channels): means, then standard deviations."""

    songs: list[str]
    views: NDArray[np.int64]
    values: NDArray[np.float32]


def frame_statistics(frames: NDArray[np.floating]) -> NDArray[np.float32]:
    """(stream, frame, channel) → float32 (stream, 2·channel): mean and population standard deviation over frames."""
    pooled = np.empty((frames.shape[0], 2, frames.shape[2]), dtype=np.float32)
    for stream, values in enumerate(frames):
        floats = values.astype(np.float32)
        mean = floats.mean(axis=0, dtype=np.float64)
        floats -= mean.astype(np.float32)
        pooled[stream] = mean, np.sqrt(np.mean(np.square(floats, out=floats), axis=0, dtype=np.float64))
    return pooled.reshape(frames.shape[0], -1)


def summarise(store: EmbeddingStore, streams: Sequence[str] | None = None, *, progress: Progress = iter) -> Summary:
    """Take the summaries that the catalogue has and compute the others, a record in memory at a time.

    Raises
    ------
    StoreError
        A record is damaged, or there is no such stream.
    """
    records = list(store)
    names = store.streams if streams is None else streams
    values = np.empty((len(records), len(names), 2 * store.channels), dtype=np.float32)
    for places, pooled in summaries(store, records, streams, progress=progress):
        values[places] = pooled
    return Summary([song for song, _ in records], np.array([view for _, view in records], dtype=np.int64), values)


def summaries(
    store: EmbeddingStore,
    records: Sequence[tuple[str, int]],
    streams: Sequence[str] | None = None,
    *,
    progress: Progress = iter,
) -> Iterator[tuple[NDArray[np.intp], NDArray[np.float32]]]:
    """Go through the summaries of some records: those of the catalogue part by part, then the others one by one.

    Yields
    ------
    places, values
        Positions (n,) in `records`, and float32 (n, stream, 2·channel). Each record comes once.

    Raises
    ------
    StoreError
        A record is damaged, or there is no such stream.
    """
    numbers = store.stream_numbers(streams)
    missing = {store.rows[record].digest: place for place, record in enumerate(records)}
    for digests, part in _parts(store, numbers):
        columns = [column for column, digest in enumerate(digests) if digest in missing]
        places = np.array([missing.pop(digests[column]) for column in columns], dtype=np.intp)
        yield places, part[:, columns].swapaxes(0, 1)
    for place in progress(sorted(missing.values())):
        yield np.array([place]), frame_statistics(store.read(*records[place], streams))[None]


def cache_summaries(root: str, *, progress: Progress = iter) -> int:
    """Write the index and all summaries to the catalogue; return the number of records.

    Raises
    ------
    StoreError
        The store cannot be read or written, or a record is damaged.
    """
    index(root)
    store = EmbeddingStore.open(root)
    objects = open_objects(store.root)
    rows, values = list(store.rows.values()), summarise(store, progress=progress).values.swapaxes(0, 1)
    stale = {entry.key for entry in objects.find(_PARTS)}
    for number, start in enumerate(range(0, len(rows), PART_RECORDS)):
        part = slice(start, start + PART_RECORDS)
        stale -= _put_part(objects, f"{_PARTS}/{number}", rows[part], np.ascontiguousarray(values[:, part]))
    for key in sorted(stale):
        objects.delete(key)
    return len(rows)


def _put_part(objects: Objects, path: str, rows: list[CatalogueRow], values: NDArray[np.float32]) -> set[str]:
    remove_array(objects, path)
    put_array(objects, path, values, {"records": [row.digest for row in rows]})
    return {f"{path}/{METADATA}", f"{path}/{SHARD}"}


def _parts(store: EmbeddingStore, streams: Sequence[int] | None) -> Iterator[tuple[list[str], NDArray[np.float32]]]:
    objects = open_objects(store.root)

    def check(info: ArrayInfo) -> None:
        digests: Any = info.attributes.get("records")
        good = isinstance(digests, list) and info.shape == (len(store.streams), len(digests), 2 * store.channels)
        if not good or not all(isinstance(digest, str) for digest in digests) or len(set(digests)) < len(digests):
            raise StoreError("not summaries of this store's records")

    for entry in objects.named(_PARTS, depth=1, name=METADATA):
        try:
            values, info = get_array(objects, entry.key.rpartition("/")[0], streams, check=check)
        except StoreError:
            # The catalogue is never trusted over the records: these are summarised again.
            continue
        yield info.attributes["records"], values.astype(np.float32, copy=False)
