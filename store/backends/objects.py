"""The interface to a store's objects, for a local folder or any fsspec file system.

`put` is always atomic: an object is there completely or not at all.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from store.files.json_text import LARGEST

# Arrays are flat and of uint8.
Bytes = bytes | NDArray[np.uint8]
# Folder of local writes in progress; not part of the format.
STAGING = ".tmp"


class Entry(NamedTuple):
    """An object in a listing; `stamp` changes when the object is replaced."""

    key: str
    size: int
    stamp: str


class Objects(Protocol):
    """Objects under one root; keys are relative, with `/`. Failures are StoreErrors; a missing object is not one."""

    root: str
    # Number of threads for reading many small objects.
    read_threads: int
    # Seconds that a reader waits for the zarr.json of a record that is being replaced: the time to write its data.
    wait_seconds: float

    def get(self, key: str, *, largest: int = LARGEST) -> bytes | None:
        """Return the object, or None if it does not exist; a larger one is a StoreError and is not read to its end."""

    def put(self, key: str, parts: Iterable[Bytes], *, size: int = 0) -> None:
        """Write an object, part after part, atomically; an existing one is replaced. `size` is a hint."""

    def create(self, key: str, parts: Iterable[Bytes], *, size: int = 0) -> None:
        """Write an object, atomically, unless it exists."""

    def exists(self, key: str) -> bool:
        """Whether the object exists."""

    def size(self, key: str) -> int | None:
        """Size of the object in bytes; None if it does not exist."""

    def read_into(self, key: str, pieces: Sequence[tuple[int, NDArray[np.uint8]]]) -> list[int] | None:
        """Fill each uint8 buffer from its offset, and return their CRC-32C.

        None if the object is missing or too short. StoreAccessError if a read returns too few bytes.
        """

    def delete(self, key: str) -> None:
        """Remove the object if it exists, and on a disk also the folders that become empty."""

    def delete_unless(self, key: str, other: str) -> None:
        """Remove the object unless `other` exists; safe while a writer of both is writing `other`."""

    def locked(self) -> AbstractContextManager[None]:
        """Hold the store's lock, if it has one; the lock ends with its process."""

    def find(self, prefix: str = "") -> Iterator[Entry]:
        """All objects under the prefix, at any depth."""

    def find_named(self, prefix: str, *, depth: int, name: str) -> Iterator[Entry]:
        """The objects called `name` exactly `depth` folders below the prefix."""

    def folders_without(self, prefix: str, *, depth: int, name: str) -> list[str]:
        """The folders exactly `depth` below the prefix that are not empty but have no object called `name`."""

    def sweep(self) -> None:
        """Remove the remains of interrupted writes by processes that have ended."""


def as_memory(part: Bytes) -> memoryview:
    """View bytes or an array without a copy."""
    return memoryview(part) if isinstance(part, bytes) else part.data
