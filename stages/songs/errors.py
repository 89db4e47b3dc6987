"""Errors about songs and their tables, and names of files in messages."""

from pathlib import Path

from store.errors import HearError
from store.files.visible import visible


class SongsError(HearError):
    """A manifest, a folder of a data set or a file of labels is invalid."""


def shown(path: Path) -> str:
    """A path for an error message: quoted and escaped if it has characters that would break the line."""
    return printable(str(path))


def printable(text: str) -> str:
    """A text on one line: quoted and escaped if it has characters that would break the line."""
    return text if text == visible(text) else repr(text)
