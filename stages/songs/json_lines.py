"""JSON lines: one object per line, with the number of the line."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from stages.songs.errors import SongsError, shown
from stages.songs.text_file import read_text
from store.files.json_text import JsonError, parse_json


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
            row = parse_json(text)
            # Names of files may have bytes that are not UTF-8; half of a surrogate pair is in no text and in no name.
            json.dumps(row, ensure_ascii=False).encode(errors="surrogateescape")
        except JsonError as error:
            raise SongsError(f"{shown(path)} line {number}: {str(error).removeprefix('it ')}") from error
        except UnicodeEncodeError as error:
            raise SongsError(f"{shown(path)} line {number}: a text in it has half of a surrogate pair") from error
        if not isinstance(row, dict):
            raise SongsError(f"{shown(path)} line {number}: expected an object, found {text.strip()[:80]!r}")
        yield number, row
