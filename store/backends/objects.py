"""Where a store's objects lie: a few verbs that a local folder and any fsspec file system can keep.

`put` is atomic everywhere: an object is there whole or not at all.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from store.files.json_text import LARGEST

# Arrays are flat and of uint8.
Bytes = bytes | NDArray[np.uint8]
# Local writes in progress lie in this folder; it is no part of the format.
STAGING = ".tmp"


class Entry(NamedTuple):
    """An object as a listing shows it; `stamp` changes when the object is put anew."""

    key: str
    size: int
    stamp: str


class Objects(Protocol):
    """Objects under one root; keys are relative, with `/`. Failures are StoreErrors, absence never is."""

    root: str
    # Threads that reading many small objects is worth.
    read_threads: int
    # Seconds that a reader waits for the zarr.json of a record that is being replaced: what putting its data may take.
    wait_seconds: float

    def get(self, key: str, *, largest: int = LARGEST) -> bytes | None:
        """Return the object, or None if it does not exist; a larger one is a StoreError, and is not read to its end."""

    def put(self, key: str, parts: Iterable[Bytes], *, size: int = 0) -> None:
        """Put an object, its parts one after another, atomically; an older one is replaced. `size` is a hint."""

    def create(self, key: str, parts: Iterable[Bytes], *, size: int = 0) -> None:
        """Put an object, atomically, unless it exists."""

    def exists(self, key: str) -> bool:
        """Tell whether the object exists."""

    def size(self, key: str) -> int | None:
        """Bytes that the object has; None if it does not exist."""

    def read_into(self, key: str, pieces: Sequence[tuple[int, NDArray[np.uint8]]]) -> list[int] | None:
        """Fill each uint8 buffer from its offset, and return their CRC-32C.

        None when the object is missing or ends too early. Bytes that are there and do not come are a StoreAccessError.
        """

    def delete(self, key: str) -> None:
        """Remove the object if it exists, and locally the folders that this empties."""

    def delete_unless(self, key: str, other: str) -> None:
        """Remove the object unless `other` exists, also where a writer of both puts `other` at this moment."""

    def locked(self) -> AbstractContextManager[None]:
        """Keep others out of what they do under this guard, too, where that is possible; it ends with its process."""

    def find(self, prefix: str = "") -> Iterator[Entry]:
        """All objects under the prefix, at any depth."""

    def find_named(self, prefix: str, *, depth: int, name: str) -> Iterator[Entry]:
        """The objects called `name` that lie exactly `depth` folders below the prefix."""

    def folders_without(self, prefix: str, *, depth: int, name: str) -> list[str]:
        """The folders exactly `depth` below the prefix that hold something, but no object called `name`."""

    def sweep(self) -> None:
        """Remove what interrupted puts of dead processes have left."""


def as_memory(part: Bytes) -> memoryview:
    """View bytes or an array without a copy."""
    return memoryview(part) if isinstance(part, bytes) else part.data
