"""Devices and pipes are written to where they are: a rename onto one would take it from the whole system."""

from pathlib import Path


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
