"""A store's objects as files: `put` writes a file in the staging folder, then renames it."""

import errno
import fcntl
import os
import socket
import stat
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from io import FileIO
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
from numpy.typing import NDArray

from store.backends.objects import STAGING, Bytes, Entry, as_memory
from store.errors import StoreAccessError, StoreError
from store.files.json_text import LARGEST
from store.files.regular import open_regular, read_regular

# A staged file of another machine, whose writer may still run, is kept for a day.
_FOREIGN_SECONDS = 86_400.0
_PLACE_ATTEMPTS = 10
# Other processes hold the lock for a millisecond, or a few on a busy disk.
_LOCK_SECONDS, _LOCK_PAUSE = 2.0, 0.001
# Bytes per read: together with their source they fit into a core's cache.
_BLOCK = 1 << 18
# Levels of folders: far more than a store has.
_DEEPEST = 50
_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.ENOSYS)
# Objects are files: a folder in an object's place counts as absent.
_ABSENT = (FileNotFoundError, NotADirectoryError, IsADirectoryError)
# The name of this machine in the names of staged files.
HOST = socket.gethostname().replace(".", "-")


class LocalObjects:
    """Files under a folder; see `Objects`. Anything but a regular file is an error and is never read.

    Links to folders are read, as users may keep records on another disk. Nothing is written or removed through them: an
    untrusted store may link to any folder of this machine.

    Nothing is fsynced: after a power cut a record may hold zeros, which its checksums reveal and `verify --repair`
    removes. Killed processes leave no incomplete object.
    """

    read_threads = 1
    wait_seconds = 1.0

    def __init__(self, root: str) -> None:
        try:
            self._folder = Path(root).expanduser().absolute()
            # An unusable folder is reported when it is used, but an impossible name at once.
            with suppress(OSError):
                self._folder.lstat()
        except (RuntimeError, ValueError) as error:
            raise StoreError(f"{root}: {error}") from error
        self.root = str(self._folder)

    def _path(self, key: str) -> str:
        return f"{self.root}/{key}"

    def _own_path(self, key: str) -> str:
        """The path of an object to write or remove: no folder on it within the store may be a link."""
        folder = self.root
        for part in key.split("/")[:-1]:
            folder += f"/{part}"
            if os.path.islink(folder):  # noqa: PTH114 (called for every record)
                raise StoreError(
                    f"{folder}: expected a folder, found a link; remove it, or put the folder itself there"
                )
        return self._path(key)

    def get(self, key: str, *, largest: int = LARGEST) -> bytes | None:
        with self._explain_errors("read", key):
            try:
                return read_regular(self._path(key), largest=largest)
            except _ABSENT:
                return None

    def put(self, key: str, parts: Iterable[Bytes], *, size: int = 0) -> None:
        with self._explain_errors("write", key), self._staged(parts, size) as staged:
            self._placing(key, staged.replace)

    def create(self, key: str, parts: Iterable[Bytes], *, size: int = 0) -> None:
        if self.exists(key):
            return
        with self._explain_errors("write", key), self._staged(parts, size) as staged, suppress(FileExistsError):
            self._placing(key, lambda path: _rename_new(staged, path))

    def _placing(self, key: str, place: Callable[[str], object]) -> None:
        """Put a file in place; make its folder if needed, and again if another process removes the empty folder."""
        path = self._own_path(key)
        for _ in range(_PLACE_ATTEMPTS):
            try:
                place(path)
            except FileNotFoundError:
                Path(path).parent.mkdir(parents=True, exist_ok=True)
            else:
                return
        place(path)

    @contextmanager
    def _staged(self, parts: Iterable[Bytes], size: int = 0) -> Iterator[Path]:
        path = self._staging_path()
        try:
            with self._open_staged(path) as file:
                if size and hasattr(os, "posix_fallocate"):
                    # Writing into allocated space takes two thirds of the time. Not every file system can allocate, and
                    # writing reports a full disk as well.
                    with suppress(OSError):
                        os.posix_fallocate(file.fileno(), 0, size)
                for part in parts:
                    _write_all(file, as_memory(part))
            yield path
        finally:
            # After a rename it is gone. If it cannot be removed, the next write's sweep tries again.
            with suppress(OSError):
                path.unlink(missing_ok=True)

    def _staging_path(self) -> Path:
        return Path(self._own_path(f"{STAGING}/{HOST}.{os.getpid()}.{uuid.uuid4().hex}"))

    def _open_staged(self, path: Path) -> FileIO:
        try:
            return path.open("xb", buffering=0)
        except FileNotFoundError:
            path.parent.mkdir(parents=True, exist_ok=True)
            return path.open("xb", buffering=0)

    def exists(self, key: str) -> bool:
        with self._explain_errors("read", key):
            return _status(self._path(key)) is not None

    def size(self, key: str) -> int | None:
        with self._explain_errors("read", key):
            status = _status(self._path(key))
            return None if status is None else status.st_size

    def read_into(self, key: str, pieces: Sequence[tuple[int, NDArray[np.uint8]]]) -> list[int] | None:
        with self._explain_errors("read", key):
            try:
                with open_regular(self._path(key), buffering=0) as file:
                    return [_read_all(file, offset, buffer) for offset, buffer in pieces]
            except (*_ABSENT, EOFError):
                return None

    def delete(self, key: str) -> None:
        with self._explain_errors("remove", key), suppress(IsADirectoryError, NotADirectoryError):
            Path(self._own_path(key)).unlink(missing_ok=True)
        self._prune(key)

    def _prune(self, key: str) -> None:
        """Remove folders that are now empty, and an empty folder in the object's place."""
        with suppress(OSError):
            Path(self._path(key)).rmdir()
        for folder in Path(self._path(key)).parents:
            if folder == self._folder:
                return
            try:
                folder.rmdir()
            except OSError:
                return  # not empty, or removed already

    def delete_unless(self, key: str, other: str) -> None:
        # Moved aside first, so that exactly this file can be put back, even if the object is replaced meanwhile.
        path, aside = Path(self._own_path(key)), self._staging_path()
        with self.locked(), self._explain_errors("remove", key), suppress(FileNotFoundError, NotADirectoryError):
            if self.exists(other):
                return
            if stat.S_ISDIR(path.lstat().st_mode):
                self._prune(key)
                return
            # Other machines sweep old staged files.
            os.utime(path, follow_symlinks=False)
            aside.parent.mkdir(exist_ok=True)
            path.replace(aside)
            if self.exists(other):
                with suppress(FileExistsError):
                    self._placing(key, lambda place: _rename_new(aside, place))
            aside.unlink(missing_ok=True)
        self._prune(key)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Lock the store's folder; the system unlocks it when this process ends.

        Some network file systems have no locks, and a stopped process may hold this one: then continue without it.
        """
        folder = None
        with suppress(OSError):
            folder = os.open(self.root, os.O_RDONLY)
            _lock(folder)
        try:
            yield
        finally:
            if folder is not None:
                with suppress(OSError):
                    fcntl.flock(folder, fcntl.LOCK_UN)  # closing is not enough if a process was forked meanwhile
                os.close(folder)

    def find(self, prefix: str = "") -> Iterator[Entry]:
        with self._explain_errors("list", prefix):
            yield from self._walk(prefix)

    def _walk(self, prefix: str) -> Iterator[Entry]:
        for name, entry in self._scan(prefix):
            if name == STAGING and not prefix:
                continue
            key = f"{prefix}/{name}" if prefix else name
            if entry.is_dir(follow_symlinks=False):
                if key.count("/") > _DEEPEST:
                    raise StoreError(f"{self._path(prefix)}: folders are nested deeper than in any store; remove them")
                yield from self._walk(key)
            else:
                with suppress(FileNotFoundError):
                    yield _entry(key, _listed(entry))

    def find_named(self, prefix: str, *, depth: int, name: str) -> Iterator[Entry]:
        for folder in self._folders(prefix, depth):
            key = f"{folder}/{name}"
            with self._explain_errors("read", key):
                status = _status(self._path(key))
            if status is not None:
                yield _entry(key, status)

    def folders_without(self, prefix: str, *, depth: int, name: str) -> list[str]:
        folders = self._folders(prefix, depth, links=False)
        return [folder for folder in folders if not self.exists(f"{folder}/{name}")]

    def _folders(self, prefix: str, depth: int, *, links: bool = True) -> Iterator[str]:
        if depth == 0:
            yield prefix
            return
        for name, entry in self._scan(prefix):
            if links or not entry.is_symlink():
                yield from self._folders(f"{prefix}/{name}", depth - 1, links=links)

    def _scan(self, prefix: str) -> list[tuple[str, "os.DirEntry[str]"]]:
        with self._explain_errors("list", prefix):
            try:
                with os.scandir(self._path(prefix)) as entries:
                    return sorted((entry.name, entry) for entry in entries)
            except (FileNotFoundError, NotADirectoryError):
                return []

    def sweep(self) -> None:
        self._own_path(f"{STAGING}/")
        staged = [(name.partition("."), entry) for name, entry in self._scan(STAGING)]
        now = self._now() if any(host != HOST for (host, _, _), _ in staged) else 0.0
        for (host, _, rest), entry in staged:
            with self._explain_errors("remove", f"{STAGING}/{entry.name}"), suppress(FileNotFoundError):
                status = entry.stat(follow_symlinks=False)
                old = now - status.st_mtime > _FOREIGN_SECONDS
                dead = (not _alive(rest.partition(".")[0])) if host == HOST else old
                if dead and not stat.S_ISDIR(status.st_mode):  # no writer makes folders here
                    Path(entry.path).unlink(missing_ok=True)

    def _now(self) -> float:
        """The modification time of a new file: staged files' times come from this clock, which may differ from ours."""
        path = self._staging_path()
        with self._explain_errors("write", STAGING):
            try:
                with self._open_staged(path) as file:
                    return os.fstat(file.fileno()).st_mtime
            finally:
                path.unlink(missing_ok=True)

    @contextmanager
    def _explain_errors(self, verb: str, key: str) -> Iterator[None]:
        """Report the failed operation, place, reason and remedy."""
        try:
            yield
        except OSError as error:
            remedy = "; no incomplete object is visible: fix the cause and run again" if verb == "write" else ""
            raise StoreAccessError(f"{self._path(key)}: cannot {verb}: {error.strerror or error}{remedy}") from error


def _lock(file: int) -> None:
    """Lock an open file; wait a limited time for another process's lock."""
    deadline = time.monotonic() + _LOCK_SECONDS
    while time.monotonic() < deadline:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(_LOCK_PAUSE)
        else:
            return


def _listed(entry: "os.DirEntry[str]") -> os.stat_result:
    try:
        return entry.stat()
    except OSError:
        return entry.stat(follow_symlinks=False)  # a broken link, or a link to itself


def _status(path: str) -> os.stat_result | None:
    """Status of a file of any kind; None if there is none, or a folder."""
    try:
        status = os.stat(path)  # noqa: PTH116 (called for every record: half the cost of a Path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        status = os.lstat(path)  # a link to itself exists; reading it gives the error
    return None if stat.S_ISDIR(status.st_mode) else status


def _entry(key: str, status: os.stat_result) -> Entry:
    return Entry(key, status.st_size, f"{status.st_mtime_ns}-{status.st_size}")


def _rename_new(staged: Path, path: str) -> None:
    """Rename that refuses to replace: a hard link."""
    try:
        os.link(staged, path)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        # exFAT and some network file systems have no hard links. This is not atomic, so writers check the result.
        if Path(path).exists():
            raise FileExistsError(path) from None
        staged.replace(path)


def _write_all(file: Any, data: memoryview) -> None:
    while data:
        data = data[file.write(data) :]


def _read_all(file: Any, offset: int, buffer: NDArray[np.uint8]) -> int:
    """Fill the buffer, and compute its CRC-32C block by block, while each is in a core's cache."""
    file.seek(offset)
    crc = 0
    while buffer.size:
        count = file.readinto(buffer[:_BLOCK])
        if not count:
            raise EOFError
        crc = google_crc32c.extend(crc, buffer[:count])
        buffer = buffer[count:]
    return crc


def _alive(process: str) -> bool:
    try:
        os.kill(int(process), 0)
    except (ValueError, ProcessLookupError):
        return False
    except PermissionError:
        return True
    return True
