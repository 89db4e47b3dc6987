"""Files that appear complete or not at all.

Devices and pipes are written to directly: a rename would replace them for the whole system.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a path beside `path` to write to; it is renamed to `path` at the end, or removed after an error.

    For a device or a pipe, this is `path` itself.

    Raises
    ------
    OSError
        The file cannot be written, as on a full disk; the previous file is unchanged.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if is_device(path):
        yield path
        return
    partial = path.with_name(f".{path.name}.partial")
    try:
        yield partial
        partial.replace(path)
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)


def is_device(path: Path) -> bool:
    """Whether this is a device, a pipe, a socket, or a link to an open file of a process, such as /dev/stdout.

    Raises
    ------
    OSError
        The path cannot be inspected.
    """
    # Such a link may lead to a regular file, and a rename would replace it. Other links to files may be replaced: DVC
    # links to files in its cache, which must not be written to.
    if path.is_symlink() and path.readlink().parent.name == "fd":
        return True
    return path.exists() and not path.is_file() and not path.is_dir()
