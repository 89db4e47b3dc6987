"""Text files of users: UTF-8 with or without a byte order mark, UTF-16 with one, JSON lines."""

import codecs
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from stages.common.csv_text import CsvError, read_rows
from stages.songs.errors import SongsError, shown
from store.files.json_text import JsonError, parse_json
from store.files.regular import LARGEST_TEXT, IrregularFileError, read_regular


def read_text(path: Path, *, advice: str = "") -> str:
    """The text of a file, with its line endings unchanged.

    Parameters
    ----------
    advice
        Advice for the message if the file cannot be read.

    Raises
    ------
    SongsError
        The file cannot be read, or is in another encoding.
    """
    data = read_given(path, advice=advice)
    wide = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return decoded(path, data, "utf-16" if wide else "utf-8-sig")


def read_names(path: Path) -> list[str]:
    """The lines of a list of files. File names that are not UTF-8 are kept by surrogate escapes.

    Raises
    ------
    SongsError
        The file cannot be read.
    """
    return re.split("\r\n|\r|\n", read_given(path).decode("utf-8-sig", "surrogateescape"))


def read_json_lines(path: Path, *, advice: str = "") -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the line number and the object of each line that is not blank.

    Parameters
    ----------
    advice
        Advice for the message if the file cannot be read.

    Raises
    ------
    SongsError
        The file cannot be read, or a line is not a JSON object.
    """
    for number, text in enumerate(read_text(path, advice=advice).split("\n"), start=1):
        if not text.strip():
            continue
        try:
            row = parse_json(text)
            # Surrogate escapes of file names are allowed, other lone surrogates are not.
            json.dumps(row, ensure_ascii=False).encode(errors="surrogateescape")
        except JsonError as error:
            raise SongsError(f"{shown(path)} line {number}: {str(error).removeprefix('it ')}") from error
        except UnicodeEncodeError as error:
            raise SongsError(f"{shown(path)} line {number}: a string has a lone surrogate; correct it") from error
        if not isinstance(row, dict):
            raise SongsError(f"{shown(path)} line {number}: expected an object, found {text.strip()[:80]!r}")
        yield number, row


def csv_rows(path: Path, text: str, *, separator: str = ",") -> Iterator[tuple[int, list[str]]]:
    """Yield each row of CSV text with the number of its first line.

    Raises
    ------
    SongsError
        It is not CSV.
    """
    try:
        yield from read_rows(io.StringIO(text, newline=""), separator=separator)
    except CsvError as error:
        raise SongsError(f"{shown(path)} line {error.line}: not valid CSV: {error}") from error


def read_given(path: Path, *, advice: str = "") -> bytes:
    """The bytes of a file that the user named; it may be `/dev/stdin` or a shell's `<(…)`.

    Raises
    ------
    SongsError
        The file cannot be read, is not a regular file or pipe, or is too large for text.
    """
    try:
        return read_regular(path, largest=LARGEST_TEXT, pipes=True)
    except (OSError, ValueError, IrregularFileError) as error:
        reason = getattr(error, "strerror", None) or str(error).removeprefix(f"{path}: ")
        raise SongsError(f"{shown(path)}: cannot be read: {reason}{advice and f'; {advice}'}") from error


def decoded(path: Path, data: bytes, encoding: str) -> str:
    """The bytes of a file as text.

    Raises
    ------
    SongsError
        The bytes are in another encoding.
    """
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        raise SongsError(f"{shown(path)}: not UTF-8 text ({error.reason}); save it as UTF-8") from error
