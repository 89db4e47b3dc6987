"""Distinguishing damage from a network that sometimes returns short or wrong bytes.

An object is damaged only if two readings in a row give the same bad bytes, with the listed size. In any other case it
cannot be read now.
"""

import time
from collections.abc import Callable
from typing import TypeVar

from store.backends.objects import Objects
from store.errors import StoreAccessError, StoreError
from store.files.json_text import LARGEST

_Found = TypeVar("_Found")
_Value = TypeVar("_Value")

READS = 4
# The pause before the second reading, as a fraction of the store's wait_seconds; each further pause is twice as long.
PAUSE = 0.01


def read_checked(objects: Objects, key: str, read: Callable[[], _Found], use: Callable[[_Found], _Value]) -> _Value:
    """Read part of an object and convert it with `use`; if `use` refuses it, read again.

    Raises
    ------
    StoreError
        From `use`, if two readings in a row gave the same bytes.
    StoreAccessError
        Each read returned different bytes, or too few; or `read` failed.
    """
    where = f"{objects.root}/{key}"
    before, problem = None, StoreAccessError(where)
    for attempt in range(READS):
        if attempt:
            time.sleep(objects.wait_seconds * PAUSE * 2 ** (attempt - 1))
        found = read()
        try:
            return use(found)
        except StoreAccessError as error:
            problem = error
        except StoreError as error:
            if attempt and found == before:
                raise
            reason = str(error).partition("; run hear-store")[0]
            problem = StoreAccessError(
                f"{where}: cannot read: each attempt returned different bytes ({reason}); try again"
            )
        before = found
    raise problem


def get_document(
    objects: Objects, key: str, use: Callable[[bytes], _Value], *, largest: int = LARGEST
) -> _Value | None:
    """Read an object of at most `largest` bytes and convert it; None if it does not exist. Raises as `read_checked`."""

    def use_whole(data: bytes | None) -> _Value | None:
        if data is None:
            return None
        try:
            return use(data)
        except StoreError as error:
            size = objects.size(key)
            if size in (None, len(data)):
                raise
            raise StoreAccessError(
                f"{objects.root}/{key}: cannot read: expected {size} bytes, got {len(data)}; try again"
            ) from error

    return read_checked(objects, key, lambda: objects.get(key, largest=largest), use_whole)
