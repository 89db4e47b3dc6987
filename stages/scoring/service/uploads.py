"""Uploads on disk: one file per song, in one folder of the service, with a limit on their total size."""

import errno
import os
import shutil
import tempfile
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from stages.scoring.service.limits import RefusedError

# Prefix of the service's folder in the system's folder for temporary files.
FOLDER_PREFIX = "hear-serve-"
# The system's errors for too many open files.
_TOO_MANY_FILES = (errno.EMFILE, errno.ENFILE)


class Upload:
    """The file for one song's audio; made by `Uploads`."""

    def __init__(self, name: str, folder: Path, reserve: Callable[[int], bool]) -> None:
        self.name, self.size = name, 0
        self._reserve = reserve
        with _storage_errors():
            number, path = tempfile.mkstemp(dir=folder)
        self.path = Path(path)
        # Unbuffered, so that a full disk is noticed here and closing cannot fail.
        self._file = os.fdopen(number, "wb", buffering=0)

    def write(self, block: bytes) -> None:
        """Append a block.

        Raises
        ------
        RefusedError
            507: the disk is full or cannot be written; 503: all uploads together have reached their limit.
        """
        if not self._reserve(len(block)):
            raise RefusedError(503, "the disk space for uploads is used up; try again later")
        self.size += len(block)
        self._write(block)

    def replace_start(self, block: bytes) -> None:
        """Overwrite the first bytes, which are written already. Raises RefusedError (507) as `write` does."""
        with _storage_errors():
            self._file.seek(0)
        self._write(block)

    def _write(self, block: bytes) -> None:
        rest = memoryview(block)
        with _storage_errors():
            while rest:
                rest = rest[self._file.write(rest) :]

    def close(self) -> None:
        """Close the file, which is complete."""
        self._file.close()

    def remove(self) -> None:
        """Close and delete the file."""
        self._file.close()
        self.path.unlink(missing_ok=True)


# Creates the file for a song of this name.
Begin = Callable[[str], Upload]


class Uploads:
    """The folder of all uploads.

    Parameters
    ----------
    limit
        Bytes of all uploads together.

    Attributes
    ----------
    size
        Bytes of all uploads that are not removed.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._folder = Path()
        self._remove_folder: Callable[[], object] = lambda: None
        # The scoring thread removes uploads, too.
        self._lock = threading.Lock()
        self._uploads: set[Upload] = set()
        self.size = 0

    def add(self, name: str) -> Upload:
        """Create a file for a song of this name. Raises RefusedError (503, 507) if the system cannot."""
        upload = Upload(name, self._existing_folder(), self._reserve)
        self._uploads.add(upload)
        return upload

    def remove(self, upload: Upload) -> None:
        """Delete an upload's file."""
        with self._lock:
            if upload in self._uploads:
                self._uploads.discard(upload)
                self.size -= upload.size
        with suppress(OSError):  # `close` removes the folder
            upload.remove()

    def close(self) -> None:
        """Delete the folder."""
        self._remove_folder()

    def _existing_folder(self) -> Path:
        """The folder for uploads; a new one at first, and after something has deleted it."""
        if not self._folder.name or not self._folder.is_dir():
            with _storage_errors():
                self._folder = Path(tempfile.mkdtemp(prefix=FOLDER_PREFIX))
            self._remove_folder = weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
        return self._folder

    def _reserve(self, size: int) -> bool:
        """Whether this many more bytes fit; they then count."""
        with self._lock:
            fits = self.size + size <= self._limit
            self.size += size if fits else 0
            return fits


@contextmanager
def _storage_errors() -> Iterator[None]:
    """Turn a failure to store an upload into a `RefusedError`."""
    try:
        yield
    except OSError as error:
        if error.errno in _TOO_MANY_FILES:
            raise RefusedError(503, "too many files are open; try again later") from error
        raise RefusedError(507, f"cannot store the upload: {error.strerror}; try again later") from error
