"""Hostile JSON and files, as from untrusted sources, damaged disks and other programs."""

import json
import os
import signal
import socket
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from store import EmbeddingStore, cache_summaries, describe, index, merge, prune, verify
from store.errors import HearError
from store.format.metadata import sealed

# Texts that are not documents of a store.
TEXTS: dict[str, bytes] = {
    "brackets": b"[" * 200_000,
    "objects": b'{"attributes":' * 100_000,
    "digits": b'{"attributes": {"view": ' + b"9" * 5_000 + b"}}",
    "beyond float64": b'{"attributes": {"view": ' + b"9" * 400 + b"}}",
    "NaN": b'{"attributes": {"seconds": NaN}}',
    "infinite": b'{"attributes": {"seconds": 1e999}}',
    "null": b"null",
    "list": b"[1, 2]",
    "text": b'"attributes"',
    "number": b"5",
    "cut": b'{"attributes": {',
    "empty": b"",
    "zeros": b"\0" * 1_000,
    "latin-1": b'{"attributes": {"song_id": "\xe9"}}',
    "UTF-16": '{"attributes": {}}'.encode("utf-16"),
    "attributes are a list": b'{"attributes": []}',
    "attributes are null": b'{"attributes": null}',
    "same key twice": b'{"attributes": {}, "attributes": {"digest": "0"}}',
    "half a pair": b'{"attributes": {"song_id": "\\ud800"}}',
    "too large": b'{"attributes": {}}' + b" " * (17 << 20),
}


def nested(levels: int) -> list[Any]:
    """A nested list."""
    value: list[Any] = []
    for _ in range(levels):
        value = [value]
    return value


# Values that are invalid for almost every field.
VALUES: list[Any] = [
    *(None, True, False, 0, -1, 1.0, 0.5, -0.0, 1e308, 2**31, 2**62, 2**64, 10**300),
    *("", "x", "1", "\ud800", "\0", "-1", "é" * 10_000),
    *([], [None], [[]], {}, {"a": 1}, nested(50), nested(150)),
]


def change_json(path: Path, change: Callable[[dict[str, Any]], object], *, seal: bool = True) -> None:
    """Change a document of a store and give it a valid digest, as anybody can."""
    document = json.loads(path.read_bytes())
    change(document)
    try:
        path.write_bytes(sealed(document) if seal else json.dumps(document).encode())
    except (HearError, AttributeError, TypeError, KeyError):  # such as attributes that are not an object
        path.write_bytes(json.dumps(document).encode())


def places(value: Any, *path: str | int) -> Iterator[tuple[str | int, ...]]:
    """The path of every value within a JSON value: keys and positions."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield (*path, key)
        yield from places(inner, *path, key)


def put(document: Any, place: tuple[str | int, ...], value: Any) -> None:
    """Replace the value at a path."""
    for key in place[:-1]:
        document = document[key]
    document[place[-1]] = value


def make_fifo(path: Path) -> None:
    os.mkfifo(path)


def make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as one, tempfile.TemporaryDirectory() as folder:
        one.bind(f"{folder}/socket")  # a socket's path has 108 bytes at most
        Path(folder, "socket").rename(path)


def make_link_to_zeros(path: Path) -> None:
    path.symlink_to("/dev/zero")


def make_link_to_itself(path: Path) -> None:
    path.symlink_to(path.name)


def make_large(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(1 << 40)  # takes no space


# Objects that may be in place of a file.
IRREGULAR: dict[str, Callable[[Path], None]] = {
    "FIFO": make_fifo,
    "socket": make_socket,
    "link to /dev/zero": make_link_to_zeros,
    "link to itself": make_link_to_itself,
    "folder": Path.mkdir,
    "1 TiB": make_large,
}


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Fail instead of hanging."""

    def stop(number: int, frame: object) -> None:
        raise AssertionError(f"takes more than {seconds} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def attempt(work: Callable[[], object], *, longest: int = 1_500) -> str:
    """The error as the commands print it: one line, not too long; empty if there is none."""
    try:
        work()
    except HearError as error:
        told = str(error)
    else:
        return ""
    assert "\n" not in told
    assert len(told) <= longest
    return told


def use(root: str, target: Path) -> dict[str, str]:
    """Use a store like the commands; return the errors by use."""
    works: dict[str, Callable[[], object]] = {
        "describe": lambda: json.dumps(describe(EmbeddingStore.open(root))),
        "read all": lambda: [(store := EmbeddingStore.open(root)), [store.read(*record) for record in store]],
        "attributes": lambda: [
            (store := EmbeddingStore.open(root)),
            [(store.attributes(*record), store.frames(*record)) for record in store],
        ],
        "lazy": lambda: [array.shape for array in EmbeddingStore.open(root).lazy().values()],
        "receipt": lambda: EmbeddingStore.open(root).receipt(),
        "summary": lambda: EmbeddingStore.open(root).summary(),
        "merge": lambda: merge([root], str(target)),
        "prune": lambda: prune(root, views=[9]),
        "index": lambda: index(root),
        "summaries": lambda: cache_summaries(root),
        "verify": lambda: verify(root),
    }
    return {name: error for name, work in works.items() if (error := attempt(work))}
