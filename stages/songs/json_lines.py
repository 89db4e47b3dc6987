"""JSON lines: one object per line, with the number of the line."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from stages.songs.errors import SongsError, shown
from stages.songs.text_file import read_text


def read_json_lines(path: Path, *, advice: str = "") -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield each line that is not blank: its number and its object.

    Parameters
    ----------
    advice
        What to do about a file that cannot be read.

    Raises
    ------
    SongsError
        The file cannot be read, or a line is no JSON object.
    """
    for number, text in enumerate(read_text(path, advice=advice).split("\n"), start=1):
        if not text.strip():
            continue
        try:
            row = json.loads(text)
        except (json.JSONDecodeError, RecursionError) as error:
            reason = error.msg if isinstance(error, json.JSONDecodeError) else "too deep"
            raise SongsError(f"{shown(path)} line {number}: is not JSON: {reason}") from error
        if not isinstance(row, dict):
            raise SongsError(f"{shown(path)} line {number}: expected an object, found {text.strip()[:80]!r}")
        yield number, row
