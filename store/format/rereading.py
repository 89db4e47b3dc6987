"""Telling damage from a network that gives short or wrong bytes now and then.

Damaged is only what comes twice, the same bytes, and as long as the listing says. Anything else cannot be read now.
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
# The pause before the second reading, as a share of the store's patience; each further one is twice as long.
PAUSE = 0.01


def settled(objects: Objects, key: str, read: Callable[[], _Found], use: Callable[[_Found], _Value]) -> _Value:
    """Read something of an object, and make a value of it; what cannot be used is read again.

    Raises
    ------
    StoreError
        What `use` says of it, where two readings in a row gave the same.
    StoreAccessError
        Each reading gave something else, or less than there is; or `read` failed.
    """
    where = f"{objects.root}/{key}"
    before, problem = None, StoreAccessError(where)
    for attempt in range(READS):
        if attempt:
            time.sleep(objects.patience * PAUSE * 2 ** (attempt - 1))
        found = read()
        try:
            return use(found)
        except StoreAccessError as error:
            problem = error
        except StoreError as error:
            if attempt and found == before:
                raise
            reason = str(error).partition("; run hear-store")[0]
            problem = StoreAccessError(f"{where}: cannot read: each reading gives other bytes ({reason}); try again")
        before = found
    raise problem


def get_document(
    objects: Objects, key: str, use: Callable[[bytes], _Value], *, largest: int = LARGEST
) -> _Value | None:
    """Make a value of an object of so many bytes at most; None where there is none. Raises as `settled`."""

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
                f"{objects.root}/{key}: cannot read: expected {size} bytes, {len(data)} came; try again"
            ) from error

    return settled(objects, key, lambda: objects.get(key, largest=largest), use_whole)
