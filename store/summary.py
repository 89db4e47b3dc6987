"""Summaries: the mean and standard deviation over time of every channel of each record.

On request they are cached in the catalogue, in parts of up to 1,024 records. Each part is an array (stream, record,
2·channel), whose attributes hold the digest of every record in it. If a record has changed since, its summary is
computed again.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from store.backends.objects import Objects
from store.backends.opening import open_objects
from store.catalogue import CatalogueRow, read_rows, write_index
from store.errors import StoreError
from store.format.arrays import get_array, put_array, remove_array
from store.format.keys import CATALOGUE, METADATA, SHARD
from store.format.metadata import ArrayInfo
from store.progress import Progress
from store.records import get_record
from store.spec import Spec, read_root

PART_RECORDS = 1024
_PARTS = f"{CATALOGUE}/summaries"


@dataclass(frozen=True, repr=False)
class Summary:
    """Songs and views of the records, and float32 values (record, stream, 2·channel): means, then deviations."""

    songs: list[str]
    views: NDArray[np.int64]
    values: NDArray[np.float32]

    def __repr__(self) -> str:
        records, streams, values = self.values.shape
        return f"Summary({records} records, {streams} streams, {values // 2} channels)"


def frame_statistics(frames: NDArray[np.floating]) -> NDArray[np.float32]:
    """(stream, frame, channel) → float32 (stream, 2·channel): mean and population standard deviation over frames."""
    statistics = np.empty((frames.shape[0], 2, frames.shape[2]), dtype=np.float32)
    for stream, values in enumerate(frames):
        floats = values.astype(np.float32)
        mean = floats.mean(axis=0, dtype=np.float64)
        floats -= mean.astype(np.float32)
        statistics[stream] = mean, np.sqrt(np.mean(np.square(floats, out=floats), axis=0, dtype=np.float64))
    return statistics.reshape(frames.shape[0], -1)


def summarise(
    objects: Objects, spec: Spec, rows: Sequence[CatalogueRow], numbers: Sequence[int], *, progress: Progress = iter
) -> Summary:
    """Summarise records; parameters and errors as for `summaries`."""
    values = np.empty((len(rows), len(numbers), 2 * spec.channels), dtype=np.float32)
    for places, part in summaries(objects, spec, rows, numbers, progress=progress):
        values[places] = part
    return Summary([row.song_id for row in rows], np.array([row.view for row in rows], dtype=np.int64), values)


def summaries(
    objects: Objects, spec: Spec, rows: Sequence[CatalogueRow], numbers: Sequence[int], *, progress: Progress = iter
) -> Iterator[tuple[NDArray[np.intp], NDArray[np.float32]]]:
    """Iterate over the summaries of some records: cached ones part by part, then the others one by one.

    Parameters
    ----------
    rows
        The records.
    numbers
        Positions of the streams to summarise, in this order.
    progress
        Iterates over a list, for instance with a progress bar.

    Yields
    ------
    places, values
        Positions (n,) in `rows`, and float32 (n, stream, 2·channel). Each record comes once.

    Raises
    ------
    StoreError
        A record is damaged.
    """
    missing = {row.digest: place for place, row in enumerate(rows)}
    for digests, part in _parts(objects, spec, numbers):
        columns = [column for column, digest in enumerate(digests) if digest in missing]
        places = np.array([missing.pop(digests[column]) for column in columns], dtype=np.intp)
        yield places, part[:, columns].swapaxes(0, 1)
    for place in progress(sorted(missing.values())):
        record = get_record(objects, spec, rows[place].song_id, rows[place].view, numbers)
        yield np.array([place]), frame_statistics(record.floats())[None]


def cache_summaries(root: str, *, progress: Progress = iter) -> int:
    """Write the index and all summaries to the catalogue; return the number of records.

    Raises
    ------
    StoreError
        The store cannot be read or written, or a record is damaged.
    """
    objects = open_objects(str(root))
    spec = read_root(objects).spec
    write_index(objects, spec)
    rows = list(read_rows(objects, spec).values())
    summary = summarise(objects, spec, rows, range(len(spec.streams)), progress=progress)
    values = summary.values.swapaxes(0, 1)
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


def _parts(objects: Objects, spec: Spec, numbers: Sequence[int]) -> Iterator[tuple[list[str], NDArray[np.float32]]]:
    def check(info: ArrayInfo) -> None:
        digests: Any = info.attributes.get("records")
        good = isinstance(digests, list) and info.shape == (len(spec.streams), len(digests), 2 * spec.channels)
        if not good or not all(isinstance(digest, str) for digest in digests) or len(set(digests)) < len(digests):
            raise StoreError("not summaries of this store's records")

    for entry in objects.find_named(_PARTS, depth=1, name=METADATA):
        try:
            values, info = get_array(objects, entry.key.rpartition("/")[0], numbers, check=check)
        except StoreError:
            # The records always win over the catalogue: these are summarised again.
            continue
        yield info.attributes["records"], values.astype(np.float32, copy=False)
