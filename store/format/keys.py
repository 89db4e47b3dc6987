"""Paths of the objects in a store.

A record's folder is named by a digest of its song id, so any id is valid: case, slashes, newlines, length and names
that some file systems reserve do not matter. The id itself is in the record's attributes.
"""

import hashlib
import re

from store.errors import StoreError

ROOT = "zarr.json"
RECORDS = "records"
CATALOGUE = "catalogue"
INDEX = "catalogue/index.json"
SOURCES = "catalogue/sources.json"
CATALOGUE_FILES = (INDEX, SOURCES)
METADATA = "zarr.json"
SHARD = "c/0/0/0"
# Folders between `records` and an array's zarr.json.
DEPTH = 3

_RECORD = re.compile(r"records/([0-9a-f]{2})/(\1[0-9a-f]{30})/(0|[1-9][0-9]*)")


def largest_catalogue(records: int = 0) -> int:
    """Most bytes that a catalogue file may have for this number of records: ten times their usual size."""
    return max(64 << 20, records << 12)


def song_key(song: str) -> str:
    """32 hexadecimal digits of SHA-256 over the id's UTF-8."""
    # File names that are not UTF-8 reach Python as lone surrogates; these have digests, too.
    return hashlib.sha256(song.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def record_path(song: str, view: int) -> str:
    """The record's folder.

    Raises
    ------
    StoreError
        The id is empty, or the view is negative.
    """
    if not song or view < 0:
        raise StoreError(f"expected a song id and a view of at least 0, found {song!r} and {view!r}")
    key = song_key(song)
    return f"{RECORDS}/{key[:2]}/{key}/{int(view)}"


def is_record(path: str) -> bool:
    """Whether `record_path` can return this path."""
    return _RECORD.fullmatch(path) is not None
