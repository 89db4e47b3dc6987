"""The catalogue: facts about all records, without opening each one. It is derived; the records always win.

    catalogue/index.json           one column per property, one row per record, sealed by a digest
    catalogue/sources.json         audio files that were hashed after their records were made (see sources.py)
    catalogue/summaries/<n>/       summaries of up to 1,024 records (see summary.py)

Every opening lists the records. A row is used only if its stamp (a file's time and size, an object's ETag) matches the
listing; for all other records, zarr.json is read. So a stale or damaged catalogue costs time but never gives a wrong
answer. An index of an older version that lacks a column is ignored.
"""

from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from types import NoneType
from typing import Any, NamedTuple

from store.backends.objects import Objects
from store.backends.opening import open_objects
from store.errors import StoreError, StoreNotFoundError
from store.format.arrays import await_info, await_replacement
from store.format.keys import DEPTH, INDEX, METADATA, RECORDS, record_path
from store.format.metadata import LONGEST, read_derived, sealed
from store.records import check_info
from store.spec import Spec, read_root

_DIGEST_LENGTH = 64
# Larger numbers cannot be a length in seconds.
_MOST_SECONDS = 1 << 31


class CatalogueRow(NamedTuple):
    """A record: frames T, seconds of audio, digest of its zarr.json, and its audio file.

    The file is given by its hash, its size in bytes, and the time of its last change. Unknown values are None.
    """

    song_id: str
    view: int
    frames: int
    seconds: float | None
    digest: str
    source: str | None
    source_size: int | None
    source_mtime_ns: int | None


def read_rows(objects: Objects, spec: Spec) -> dict[tuple[str, int], CatalogueRow]:
    """The store's records, sorted by song and view.

    Raises
    ------
    StoreError
        The store cannot be listed, or a record is damaged.
    """
    return {(row.song_id, row.view): row for _, row in _current(objects, spec)}


def index(root: str) -> int:
    """Rewrite the catalogue's index and return the number of records.

    Raises
    ------
    StoreError
        The store cannot be read or written, or a record is damaged.
    """
    objects = open_objects(str(root))
    return write_index(objects, read_root(objects).spec)


def write_index(objects: Objects, spec: Spec) -> int:
    """As `index`, for a store that is open already."""
    current = _current(objects, spec)
    columns = {name: [getattr(row, name) for _, row in current] for name in CatalogueRow._fields}
    stamps = [stamp for stamp, _ in current]
    objects.put(INDEX, [sealed({"attributes": {}, "stamps": stamps, "columns": columns})])
    return len(current)


def is_indexed(root: str) -> bool:
    """Whether the index matches every record, so that opening the store reads no record. Lists the store.

    Raises
    ------
    StoreError
        The store cannot be read.
    """
    objects = open_objects(str(root))
    stamps = _stamps(objects)
    return stamps == {path: stamp for path, (stamp, _) in indexed(objects, len(stamps)).items()}


def _current(objects: Objects, spec: Spec) -> list[tuple[str, CatalogueRow]]:
    """(stamp, row) of each record that exists now."""
    stamps = _stamps(objects)
    known = indexed(objects, len(stamps))
    while await_replacement(objects, [path for path in known if path not in stamps]):
        stamps = _stamps(objects)
    found = {path: known[path][1] for path, stamp in stamps.items() if path in known and known[path][0] == stamp}
    missing = [path for path in stamps if path not in found]
    read = _read_rows(objects, spec, missing)
    found |= {path: row for path, row in zip(missing, read, strict=True) if row is not None}
    return sorted(((stamps[path], row) for path, row in found.items()), key=lambda item: item[1])


def _stamps(objects: Objects) -> dict[str, str]:
    """Path → stamp of each record that exists now."""
    return {_folder(entry.key): entry.stamp for entry in objects.find_named(RECORDS, depth=DEPTH, name=METADATA)}


def indexed(objects: Objects, records: int) -> dict[str, tuple[str, CatalogueRow]]:
    """Path → (stamp, row) from the index, which may be out of date; empty if it is missing or damaged.

    An index with an impossible value, or too large for this number of records, counts as damaged.
    """
    document = read_derived(objects, INDEX, records=records)
    if document is None:
        return {}
    try:
        columns = {name: document["columns"][name] for name in CatalogueRow._fields}
        if not _are_possible(**columns):
            return {}
        rows = [CatalogueRow(*values) for values in zip(*columns.values(), strict=True)]
        stamped = zip(document["stamps"], rows, strict=True)
        return {record_path(row.song_id, row.view): (stamp, row) for stamp, row in stamped}
    except (KeyError, TypeError, ValueError):
        return {}


def _are_possible(
    song_id: list[Any],
    view: list[Any],
    frames: list[Any],
    seconds: list[Any],
    digest: list[Any],
    **file: list[Any],
) -> bool:
    """Whether all values have the right type and range, and no digest comes twice."""
    return (
        _types(song_id) | _types(digest) <= {str}
        and _types(view) | _types(frames) <= {int}
        and _types(file["source"]) <= {str, NoneType}
        and _types(file["source_size"]) | _types(file["source_mtime_ns"]) <= {int, NoneType}
        and all(song_id)
        and 0 <= min(view, default=0) <= max(view, default=0) < LONGEST
        and 0 < min(frames, default=1) <= max(frames, default=1) < LONGEST
        and _types(seconds) <= {int, float, NoneType}
        and all(map(_is_length, seconds))
        and set(map(len, digest)) <= {_DIGEST_LENGTH}
        and all(map(str.isascii, digest))
        and len(set(digest)) == len(digest)
    )


def _types(column: list[Any]) -> set[type]:
    return set(map(type, column))


def seconds_of(attributes: Mapping[str, Any]) -> float | None:
    """Seconds of audio from a record's attributes; None if the value is missing or not a length."""
    seconds = attributes.get("seconds")
    return seconds if type(seconds) in (int, float) and _is_length(seconds) else None


def hours(rows: Iterable[CatalogueRow], frame_rate: float) -> float:
    """Hours of audio; where a record does not say how long it is, its frames (at `frame_rate` per second) count."""
    return sum(row.frames / frame_rate if row.seconds is None else row.seconds for row in rows) / 3600


def _is_length(seconds: float | None) -> bool:
    return seconds is None or 0 <= seconds < _MOST_SECONDS


def _read_row(objects: Objects, spec: Spec, path: str) -> CatalogueRow | None:
    """Read a record's zarr.json; None if the record was removed after the listing."""
    where = f"{objects.root}/{path}/{METADATA}"
    try:
        info = await_info(objects, path)
    except StoreNotFoundError:
        return None
    own = info.attributes
    row = CatalogueRow(
        song_id=_typed(own.get("song_id"), str, ""),
        view=_typed(own.get("view"), int, -1),
        frames=info.shape[1],
        seconds=seconds_of(own),
        digest=info.digest,
        source=_typed(own.get("source"), str, None),
        source_size=_typed(own.get("source_size"), int, None),
        source_mtime_ns=_typed(own.get("source_mtime_ns"), int, None),
    )
    if not row.song_id or row.view < 0 or record_path(row.song_id, row.view) != path:
        raise StoreError(f"{where}: is in another record's place; run hear-store verify --repair")
    check_info(info, spec, row.song_id, row.view, where)
    return row


def _typed(value: Any, kind: type, otherwise: Any) -> Any:
    """The value if it has that type; the attributes that callers add may have any type."""
    return value if type(value) is kind else otherwise


def _folder(key: str) -> str:
    return key.rpartition("/")[0]


def _read_rows(objects: Objects, spec: Spec, paths: list[str]) -> list[CatalogueRow | None]:
    if objects.read_threads == 1:
        return [_read_row(objects, spec, path) for path in paths]
    with ThreadPoolExecutor(objects.read_threads) as threads:
        return list(threads.map(lambda path: _read_row(objects, spec, path), paths))
