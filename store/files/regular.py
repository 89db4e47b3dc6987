"""The one place that opens untrusted files: only regular files, and only up to an expected size.

Opening a named pipe would wait for its other end, and a link to `/dev/zero` never ends.
"""

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO

from store.errors import StoreError

_KINDS = {
    stat.S_IFIFO: "a FIFO (named pipe)",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a block device",
}
# Errors from opening a socket, a device without a driver, and a link to itself.
_UNOPENABLE = {
    errno.ENXIO: "a socket or a device",
    errno.ENODEV: "a device",
    errno.ELOOP: "a link to itself",
}
_OPEN_ALREADY = ("/dev/stdin", "/dev/fd/", "/proc/self/fd/")
_CHUNK = 1 << 16
# Most bytes of a table or list.
LARGEST_TEXT = 1 << 30


class IrregularFileError(StoreError):
    """Not a regular file, or larger than allowed."""


def open_regular(path: str | Path, *, buffering: int = -1) -> BinaryIO:
    """Open a regular file to read its bytes; anything else is refused without waiting.

    Raises
    ------
    IrregularFileError
        It is a FIFO, a socket or a device, or a link to one.
    OSError
        As `open`; a folder is an IsADirectoryError.
    """
    file: BinaryIO = open(path, "rb", buffering=buffering, opener=_open)  # noqa: SIM115 (the caller closes it)
    return file


def read_regular(path: str | Path, *, largest: int, pipes: bool = False) -> bytes:
    """Read a whole regular file.

    Parameters
    ----------
    largest
        Most bytes that it may have; no more are read.
    pipes
        Also read open file descriptors of any kind: `/dev/stdin`, or a shell's `<(…)`, which is a path such as
        `/dev/fd/63`. Only for files that the user names, never for files within a folder.

    Raises
    ------
    IrregularFileError
        It is not a regular file, or is too large.
    OSError
        As `open`.
    """
    pipes = pipes and os.path.abspath(path).startswith(_OPEN_ALREADY)  # noqa: PTH100 - resolve() would follow it
    with open(path, "rb") if pipes else open_regular(path) as file:  # noqa: PTH123
        size = os.fstat(file.fileno()).st_size
        if size <= largest:
            data = _read(file, size + 1, largest + 1)
            size = max(size, len(data))
    if size > largest:
        raise IrregularFileError(f"{path}: expected at most {largest} bytes, found {'at least ' * pipes}{size}")
    return data


def _open(path: str, flags: int) -> int:
    """Open without waiting for a pipe's other end, then check: before opening, the path's target could still change."""
    try:
        file = os.open(path, flags | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError as error:
        if error.errno in _UNOPENABLE:
            raise _irregular(path, _UNOPENABLE[error.errno]) from error
        raise
    kind = stat.S_IFMT(os.fstat(file).st_mode)
    if kind in _KINDS:
        os.close(file)
        raise _irregular(path, _KINDS[kind])
    return file


def _irregular(path: str, found: str) -> IrregularFileError:
    return IrregularFileError(f"{path}: expected a regular file, found {found}")


def _read(file: BinaryIO, expected: int, most: int) -> bytes:
    """Read to the end, or at most `most` bytes; memory grows only with the actual size."""
    data = file.read(expected)
    if len(data) < expected:
        return data
    parts = [data]
    most -= len(data)
    while most and (part := file.read(min(most, _CHUNK))):
        parts.append(part)
        most -= len(part)
    return b"".join(parts)
