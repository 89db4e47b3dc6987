"""Files that appear complete or not at all.

Devices and pipes are written to directly: a rename would replace them for the whole system.
"""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from uuid import uuid4

from store.errors import HearError


@contextmanager
def replacing(
    path: Path,
    *,
    error: type[HearError] | None = None,
    causes: tuple[type[Exception], ...] = (OSError,),
    shared: bool = False,
) -> Iterator[Path]:
    """Yield a path beside `path` to write to; it replaces the file once all is written, and is removed on failure.

    For a device or a pipe, this is `path` itself.

    Parameters
    ----------
    path
        The file; its folder is made where it does not exist.
    error
        Raised if the file cannot be written; OSError passes unchanged if None.
    causes
        Exceptions that the writer raises for this, such as SafetensorError.
    shared
        Whether other processes may write the file at the same time; the last one wins.

    Raises
    ------
    OSError, error
        The file cannot be written, as on a full disk; the previous file is unchanged.
    """
    with write_errors(path, error, causes) if error else nullcontext():
        path.parent.mkdir(parents=True, exist_ok=True)
        if is_device(path):
            yield path
            return
        partial = path.with_name(f".{path.name}.{uuid4().hex}.partial" if shared else f".{path.name}.partial")
        try:
            yield partial
            partial.replace(path)
        finally:
            with suppress(OSError):
                partial.unlink(missing_ok=True)


@contextmanager
def write_errors(
    path: Path | str, error: type[HearError], causes: tuple[type[Exception], ...] = (OSError,)
) -> Iterator[None]:
    """Raise `error`, which names the file or folder and the reason, for any of `causes`."""
    try:
        yield
    except causes as cause:
        reason = getattr(cause, "strerror", None) or str(cause).partition("\n")[0]
        raise error(f"{path}: cannot be written: {reason}") from cause


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
