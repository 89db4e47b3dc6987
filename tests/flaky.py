"""A network that returns short, wrong or no bytes: fsspec's in-memory file system with spoiled reads."""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from store.errors import StoreAccessError, StoreError

# (path, bytes of a reading) → bytes that the reader gets.
Spoil = Callable[[str, bytes], bytes]


def cut(path: str, data: bytes) -> bytes:
    """A body that always ends at the same byte."""
    return data[: len(data) // 2]


def at_random(rng: random.Random, *, rate: float, kinds: str = "short wrong long error") -> Spoil:
    """Short, wrong or long bodies, or an error, in this fraction of the readings."""

    def spoil(path: str, data: bytes) -> bytes:
        if rng.random() >= rate or not data:
            return data
        kind, place = rng.choice(kinds.split()), rng.randrange(len(data))
        if kind == "error":
            raise ConnectionResetError("connection reset by peer")
        if kind == "wrong":
            return data[:place] + bytes([data[place] ^ rng.randrange(1, 256)]) + data[place + 1 :]
        return data[:place] if kind == "short" else data + data[:place] + b"}"

    return spoil


def attempt(work: Callable[[], object], *, also_damage: bool = False) -> bool:
    """Whether the work succeeded; the only error allowed is a failing network or, if asked for, a damaged store."""
    with suppress(StoreError if also_damage else StoreAccessError):
        work()
        return True
    return False


@contextmanager
def flaky(spoil: Spoil) -> Iterator[None]:
    """Spoil all reads from `memory://`, and remove the pauses between attempts."""
    read = MemoryFileSystem.cat_file

    def spoiled(files: Any, path: str, *arguments: Any, **options: Any) -> bytes:
        return spoil(path, bytes(read(files, path, *arguments, **options)))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MemoryFileSystem, "cat_file", spoiled)
        patch.setattr("store.upkeep.verification._PAUSES", (0.0, 0.0))
        patch.setattr("store.backends.remote._PAUSE", 0.0)
        for name in ("rereading.PAUSE", "arrays._READ_PAUSE", "arrays._WRITE_PAUSE"):
            patch.setattr(f"store.format.{name}", 0.0)
        yield
