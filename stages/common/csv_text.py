"""CSV that spreadsheets take as text, and that reads back unchanged: every CSV file here is written and read by this.

A spreadsheet runs a cell that begins with `=`, `+`, `-`, `@`, their full-width forms, a tab, a carriage return or a
null byte as a formula, also after spaces, and also where it takes semicolons or tabs inside of a cell for separators.
There an apostrophe is put before it; a number such as -0.5 is no formula and stays. The reader takes one apostrophe
off in exactly these places, so files that other programs wrote read as they are.
"""

import csv
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import TextIO

# A sign alone is none either. Possessive, so that no text takes long.
_NUMBER = r"(?:[+-]|[+-]?(?:(?:\d++(?:\.\d*+)?|\.\d++)(?:[eE][+-]?\d++)?|inf|nan))(?=[;\t]|\Z)"
_FORMULA = rf"(?='*[^\S;\t\r]*(?!{_NUMBER})[=+\-@＝＋－＠\t\r\0])"
_BEGIN = r"(?:\A|(?<=[;\t]))"
_BARE, _QUOTED = re.compile(_BEGIN + _FORMULA), re.compile(f"{_BEGIN}'{_FORMULA}")


class CsvError(ValueError):
    """The text is not CSV; `line` says where, the message why."""

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(reason)
        self.line = line


def write_rows(file: TextIO, rows: Iterable[Sequence[object]]) -> None:
    """Write CSV with LF at the ends of lines; what UTF-8 has no bytes for, half a surrogate pair, is escaped.

    Rows with a carriage return in a cell are quoted: Python's csv leaves them as they are, and no reader takes that.
    """
    plain = csv.writer(file, lineterminator="\n")
    quoted = csv.writer(file, lineterminator="\n", quoting=csv.QUOTE_ALL)
    for row in rows:
        cells = [_written(cell) if isinstance(cell, str) else cell for cell in row]
        (quoted if any("\r" in str(cell) for cell in cells) else plain).writerow(cells)


def read_rows(lines: Iterable[str], *, separator: str = ",") -> Iterator[tuple[int, list[str]]]:
    """Yield each row of CSV: the line that it begins on, from 1, and its cells. A blank line has none.

    Raises
    ------
    CsvError
        A quote is not closed or stands in a wrong place, or a cell is longer than 131,072 characters.
    """
    reader = csv.reader(lines, delimiter=separator, strict=True)
    begins = 1
    try:
        for cells in reader:
            yield begins, [_QUOTED.sub("", cell) for cell in cells]
            begins = reader.line_num + 1
    except csv.Error as error:
        raise CsvError(reader.line_num, str(error)) from error


def _written(cell: str) -> str:
    return _BARE.sub("'", cell).encode("utf-8", "backslashreplace").decode("utf-8")
