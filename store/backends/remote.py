"""A store's objects on any fsspec file system (s3, memory, gcs, …): one request writes one object."""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import google_crc32c
import numpy as np
from numpy.typing import NDArray

from store.backends.objects import Bytes, Entry, as_memory
from store.errors import StoreAccessError, StoreError
from store.files.json_text import LARGEST

_ABSENT = (FileNotFoundError, NotADirectoryError, IsADirectoryError)
# A body that is too short is requested again, after this many seconds, then twice as many, and so on.
_READS, _PAUSE = 4, 0.1


class RemoteObjects:
    """Objects under a URL; see `Objects`. An interrupted upload leaves no object, so there is nothing to sweep."""

    # Simultaneous requests.
    read_threads = 16
    wait_seconds = 5.0

    def __init__(self, root: str) -> None:
        import fsspec

        self.root = root.rstrip("/")
        try:
            # A cached listing would hide other writers' new objects.
            self._files, path = fsspec.url_to_fs(self.root, use_listings_cache=False)
        except Exception as error:  # errors of any class: some file systems connect here
            raise StoreError(f"{root}: no file system for this URL: {error or type(error).__name__}") from error
        self._base = path.rstrip("/")

    def _path(self, key: str) -> str:
        return f"{self._base}/{key}" if key else self._base

    def get(self, key: str, *, largest: int = LARGEST) -> bytes | None:
        path = self._path(key)
        with self._explain_errors("read", key):
            try:
                data = bytes(self._files.cat_file(path, start=0, end=largest + 1))
            except _ABSENT:
                return None
            except Exception:
                # Some services refuse a range of an empty object.
                if self._files.info(path)["size"] != 0:
                    raise
                return b""
        if len(data) > largest:
            raise StoreError(f"{self.root}/{key}: expected at most {largest} bytes, found more")
        return data

    def put(self, key: str, parts: Iterable[Bytes], *, size: int = 0) -> None:
        with self._explain_errors("write", key):
            self._files.pipe_file(self._path(key), _joined(parts))

    def create(self, key: str, parts: Iterable[Bytes], *, size: int = 0) -> None:
        path = self._path(key)
        with self._explain_errors("write", key):
            data = _joined(parts)
            try:
                self._files.pipe_file(path, data, mode="create")
            except Exception:
                # Each service has its own errors for "exists" and for "two at once", and some have no conditional
                # writes: there, this checks first, which is not atomic.
                if not self._files.exists(path):
                    self._files.pipe_file(path, data)

    def exists(self, key: str) -> bool:
        with self._explain_errors("read", key):
            return bool(self._files.exists(self._path(key)))

    def size(self, key: str) -> int | None:
        info = self._info(key)
        return None if info is None else int(info["size"])

    def read_into(self, key: str, pieces: Sequence[tuple[int, NDArray[np.uint8]]]) -> list[int] | None:
        ends = [offset + buffer.nbytes for offset, buffer in pieces]
        wanted = sum(buffer.nbytes for _, buffer in pieces)
        for attempt in range(_READS):
            time.sleep(_PAUSE * attempt)
            found = self._get_ranges(key, [offset for offset, _ in pieces], ends)
            if found is None:
                return None
            sizes = [len(data) for data in found]
            if sizes == [buffer.nbytes for _, buffer in pieces]:
                for _, buffer in pieces:
                    buffer[:] = np.frombuffer(found.pop(0), dtype=np.uint8)
                return [google_crc32c.value(buffer) for _, buffer in pieces]
            size = self.size(key)
            if size is None or size < max(ends):
                return None
        raise StoreAccessError(f"{self.root}/{key}: cannot read: expected {wanted} bytes, got {sum(sizes)}; try again")

    def _get_ranges(self, key: str, starts: list[int], ends: list[int]) -> list[bytes] | None:
        with self._explain_errors("read", key):
            try:
                return list(self._files.cat_ranges([self._path(key)] * len(starts), starts, ends, on_error="raise"))
            except _ABSENT:
                return None

    def delete(self, key: str) -> None:
        with self._explain_errors("remove", key):
            try:
                self._files.rm_file(self._path(key))
            except _ABSENT:
                return

    def delete_unless(self, key: str, other: str) -> None:
        # No service has conditional removal: an object written between the last check and the removal is lost, and the
        # older bytes are put back. Writers never replace an object, so this takes two sweeps at the same time.
        before = self._info(key)
        data = None if before is None or self.exists(other) else self.get(key)
        # An incomplete reading could not be put back: the object is left for the next sweep.
        if before is None or data is None or len(data) != before["size"]:
            return
        after = self._info(key)
        if after is None or _stamp(after) != _stamp(before) or self.exists(other):
            return
        self.delete(key)
        if self.exists(other):
            self.create(key, [data])

    def locked(self) -> AbstractContextManager[None]:
        """Do nothing: no service has a lock that ends with its process."""
        return nullcontext()

    def find(self, prefix: str = "") -> Iterator[Entry]:
        with self._explain_errors("list", prefix):
            found = self._files.find(self._path(prefix), detail=True)
        for path, listed in sorted(found.items()):
            key = path[len(self._base) + 1 :]
            # Web servers list names without sizes.
            info = listed if listed.get("size") is not None else self._info(key)
            if info is not None:
                yield Entry(key, int(info["size"]), _stamp(info))

    def _info(self, key: str) -> Mapping[str, Any] | None:
        with self._explain_errors("read", key):
            try:
                found: Mapping[str, Any] = self._files.info(self._path(key))
            except _ABSENT:
                return None
            if found.get("size") is None:
                raise ValueError("the server gives no size")
            return found

    def find_named(self, prefix: str, *, depth: int, name: str) -> Iterator[Entry]:
        for entry in self.find(prefix):
            rest = entry.key[len(prefix) + 1 :].split("/")
            if len(rest) == depth + 1 and rest[-1] == name:
                yield entry

    def folders_without(self, prefix: str, *, depth: int, name: str) -> list[str]:
        keys = {entry.key for entry in self.find(prefix)}
        parts = prefix.count("/") + 1 + depth
        folders = {"/".join(key.split("/")[:parts]) for key in keys if key.count("/") >= parts}
        return sorted(folder for folder in folders if f"{folder}/{name}" not in keys)

    def sweep(self) -> None:
        """Do nothing: no writes are staged here."""

    @contextmanager
    def _explain_errors(self, verb: str, key: str) -> Iterator[None]:
        """Report the failed operation, place and reason; services raise errors of any class."""
        try:
            yield
        except StoreError:
            raise
        except Exception as error:
            raise StoreAccessError(f"{self.root}/{key}: cannot {verb}: {error or type(error).__name__}") from error


def _stamp(info: Mapping[str, Any]) -> str:
    when = info.get("ETag") or info.get("LastModified") or info.get("created") or ""
    return f"{when}-{info['size']}"


def _joined(parts: Iterable[Bytes]) -> bytes:
    return b"".join(as_memory(part) for part in parts)
