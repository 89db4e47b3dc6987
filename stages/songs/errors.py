"""What can be wrong with a set of songs."""

from pathlib import Path

from store.errors import HearError
from store.files.visible import visible


class SongsError(HearError):
    """A manifest, a data set's folder or a file of labels is not what it should be."""


def shown(path: Path) -> str:
    """The path as an error names it: quoted and escaped where a newline or the like would break the line."""
    return printable(str(path))


def printable(text: str) -> str:
    """The text as one line can hold it: quoted and escaped where it would break the line."""
    return text if text == visible(text) else repr(text)
