"""Files beside a store that appear whole or not at all.

Devices and pipes are written to directly: a rename onto one would remove it from the whole system.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from store.errors import HearError


@contextmanager
def replacing(
    path: Path, *, error: type[HearError] | None = None, causes: tuple[type[Exception], ...] = (OSError,)
) -> Iterator[Path]:
    """Yield a path beside `path` to write to; it takes the file's place once all is written, and is removed on failure.

    A device or a pipe keeps its place, and is written to itself.

    Parameters
    ----------
    path
        The file; its folder is made where it does not exist.
    error
        Raised if the file cannot be written; OSError passes unchanged if None.
    causes
        Exceptions by which the writer reports that, such as SafetensorError.

    Raises
    ------
    OSError, error
        The file cannot be written, as on a full disk; what was there before still is.
    """
    try:
        with _replacing(path) as place:
            yield place
    except causes as cause:
        if error is None:
            raise
        reason = getattr(cause, "strerror", None) or str(cause).splitlines()[0]
        raise error(f"{path}: cannot be written: {reason}") from cause


@contextmanager
def _replacing(path: Path) -> Iterator[Path]:
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
    """Whether a device, a pipe or a socket is there, or a link to an open file of a process, such as /dev/stdout.

    Raises
    ------
    OSError
        The system does not tell.
    """
    # The latter may lead to a regular file, and a rename would replace the link. Other links to files may be replaced:
    # DVC puts them where it keeps a file in its cache, which must not be written to.
    if path.is_symlink() and path.readlink().parent.name == "fd":
        return True
    return path.exists() and not path.is_file() and not path.is_dir()
