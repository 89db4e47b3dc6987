"""Identity of a song's file: size, modification time and hash, which show whether a stored song was replaced."""

import hashlib
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from stages.extract.audio.waveform import AudioError
from stages.songs.errors import shown


class FileStamp(NamedTuple):
    """Size of a file in bytes, and its modification time in nanoseconds."""

    size: int
    mtime_ns: int


@dataclass(frozen=True)
class SourceFile:
    """A file at the time it was read: hash of its bytes (`sha256:` and 64 hexadecimal digits), and its stamp."""

    hash: str
    stamp: FileStamp

    @property
    def attributes(self) -> dict[str, Any]:
        """The source attributes of a record."""
        return {"source": self.hash, "source_size": self.stamp.size, "source_mtime_ns": self.stamp.mtime_ns}


def file_stamp(path: Path) -> FileStamp:
    """The stamp of a file, or of a link's target, without reading it.

    Raises
    ------
    AudioError
        The file does not exist or is not a regular file.
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
        The file cannot be read, or is not a regular file: a device may have no end.
    """
    file_stamp(path)
    try:
        with path.open("rb") as file:
            return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
    except (OSError, ValueError) as error:
        raise AudioError(f"{shown(path)}: cannot be read: {getattr(error, 'strerror', None) or error}") from error


def read_source(path: Path, *, since: FileStamp | None) -> SourceFile:
    """Hash a file, and check that its stamp is still `since`.

    Raises
    ------
    AudioError
        The file cannot be read, or has changed: the decoded and the hashed content may differ.
    """
    digest = source_hash(path)
    if (now := file_stamp(path)) != since:
        raise AudioError(f"{shown(path)}: changed while it was read; run again when no program writes to it")
    return SourceFile(digest, now)
