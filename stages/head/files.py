"""The JSON and CSV files of a head's folder: written atomically, and read with checks, as they are untrusted."""

import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from stages.common import csv_text
from stages.head.errors import HeadError
from store.files import visible
from store.files.json_text import LARGEST, JsonError, brief, parse_json
from store.files.regular import LARGEST_TEXT, IrregularFileError, read_regular
from store.files.replacing import replacing


def to_json(value: object) -> str:
    """JSON for people: indented, one final newline."""
    return visible.to_json(value, indent=2) + "\n"


def write_json(path: Path, value: object) -> None:
    """Write a JSON file atomically.

    Raises
    ------
    HeadError
        It cannot be written.
    """
    with replacing(path, error=HeadError) as partial:
        partial.write_text(to_json(value), encoding="utf-8")


def read_object(path: Path, *, what: str = "", name: str = "") -> dict[str, Any]:
    """Read a JSON object.

    Parameters
    ----------
    what
        What the file should be, for messages.
    name
        The file's name in messages; the path by default.

    Raises
    ------
    HeadError
        The file cannot be read, or is not a JSON object.
    """
    problem = f"{name or path}: cannot be read{what and f' as {what}'}"
    try:
        values = parse_json(read_regular(path, largest=LARGEST))
    except (OSError, JsonError, IrregularFileError) as error:
        raise HeadError(f"{problem}: {_reason(error, path)}") from error
    if not isinstance(values, dict):
        raise HeadError(f"{problem}: expected an object, found {brief(values)}")
    return values


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a CSV file atomically.

    Raises
    ------
    HeadError
        It cannot be written.
    """
    with replacing(path, error=HeadError) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        csv_text.write_rows(file, [header])
        csv_text.write_rows(file, rows)


def read_csv(path: Path) -> list[list[str]]:
    """Read a CSV file: its header and its rows, as text.

    Raises
    ------
    HeadError
        The file cannot be read, or is not CSV.
    """
    try:
        text = read_regular(path, largest=LARGEST_TEXT).decode()
        return [cells for _, cells in csv_text.read_rows(io.StringIO(text, newline=""))]
    except (OSError, ValueError, IrregularFileError) as error:
        raise HeadError(f"{path}: cannot be read: {_reason(error, path)}") from error


def _reason(error: Exception, path: Path) -> str:
    return getattr(error, "strerror", None) or str(error).removeprefix(f"{path}: ")
