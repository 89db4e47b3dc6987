"""The file of a song: size, time of change and hash, by which a song that was replaced is told from the one stored."""

import hashlib
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from stages.extract.audio.waveform import AudioError
from stages.songs.errors import shown


class FileStamp(NamedTuple):
    """What is known of a file without reading it: size in bytes, and time of its last change in nanoseconds."""

    size: int
    mtime_ns: int


@dataclass(frozen=True)
class SourceFile:
    """A file as it was read: `sha256:` and 64 hexadecimal digits over its bytes, and its stamp."""

    hash: str
    stamp: FileStamp

    @property
    def attributes(self) -> dict[str, Any]:
        """What a record says of the file that it was made from."""
        return {"source": self.hash, "source_size": self.stamp.size, "source_mtime_ns": self.stamp.mtime_ns}


def file_stamp(path: Path) -> FileStamp:
    """Look at a file, or at what a link leads to, without reading it.

    Raises
    ------
    AudioError
        There is no such file, or it is not a regular file.
    """
    try:
        about = path.stat()
    except (OSError, ValueError) as error:
        raise AudioError(f"{shown(path)}: cannot be read: {getattr(error, 'strerror', None) or error}") from error
    if not stat.S_ISREG(about.st_mode):
        raise AudioError(f"{shown(path)}: is not a regular file; expected an audio file")
    return FileStamp(about.st_size, about.st_mtime_ns)


def source_hash(path: Path) -> str:
    """Hash of the file's bytes: `sha256:` and 64 hexadecimal digits.

    Raises
    ------
    AudioError
        The file cannot be read, or is not a regular file, such as a link to a device, which may have no end.
    """
    file_stamp(path)
    try:
        with path.open("rb") as file:
            return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
    except (OSError, ValueError) as error:
        raise AudioError(f"{shown(path)}: cannot be read: {getattr(error, 'strerror', None) or error}") from error


def read_source(path: Path, *, since: FileStamp | None) -> SourceFile:
    """Hash a file, and make sure that it is still the file that `since` was taken of.

    Raises
    ------
    AudioError
        The file cannot be read, or has changed since: what was decoded may be of another file than what was hashed.
    """
    digest = source_hash(path)
    if (now := file_stamp(path)) != since:
        raise AudioError(f"{shown(path)}: changed while it was read; run again when nothing writes to it")
    return SourceFile(digest, now)
