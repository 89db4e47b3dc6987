"""Audio files that were hashed after their records were made, so that a touched or copied file is hashed once.

    catalogue/sources.json         one column per property, one row per song, sealed by a digest

A row says that a file of this size and modification time had this hash. Like all of the catalogue it is derived:
without it the files are hashed again.
"""

from collections.abc import Mapping
from typing import NamedTuple

from store.backends.opening import open_objects
from store.format.keys import SOURCES
from store.format.metadata import read_derived, sealed


class SeenFile(NamedTuple):
    """A file when it was hashed: its hash, size (bytes) and modification time (ns), as in a record's attributes."""

    source: str
    source_size: int
    source_mtime_ns: int


def read_seen_files(root: str) -> dict[str, SeenFile]:
    """Song → its file when it was last hashed; empty if nothing was written, or the list is damaged.

    Raises
    ------
    StoreError
        The store cannot be read.
    """
    document = read_derived(open_objects(str(root)), SOURCES)
    if document is None:
        return {}
    try:
        columns = document["columns"]
        rows = zip(columns["song_id"], *(columns[name] for name in SeenFile._fields), strict=True)
        return {row[0]: SeenFile(*row[1:]) for row in rows if tuple(map(type, row)) == (str, str, int, int)}
    except (KeyError, TypeError, ValueError):
        return {}


def write_seen_files(root: str, files: Mapping[str, SeenFile]) -> None:
    """Write the list of the songs' files.

    Raises
    ------
    StoreError
        The store cannot be written.
    """
    columns = {name: [getattr(file, name) for file in files.values()] for name in SeenFile._fields}
    document = {"attributes": {}, "columns": {"song_id": list(files), **columns}}
    open_objects(str(root)).put(SOURCES, [sealed(document)])
