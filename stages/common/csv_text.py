"""CSV that is safe in spreadsheets and reads back unchanged. All CSV files are written and read here.

A spreadsheet runs a cell as a formula if it begins with `=`, `+`, `-`, `@`, their full-width forms, a tab, a carriage
return or a null byte, also after spaces, and also after a semicolon or tab inside the cell, which it may take for a
separator. The writer puts an apostrophe before such text. Numbers such as -0.5 are not formulas and stay unchanged. The
reader removes one apostrophe in exactly these places, so files from other programs are read unchanged.
"""

import csv
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import TextIO

# A sign alone is not a formula either. Possessive quantifiers keep the matching time linear.
_NUMBER = r"(?:[+-]|[+-]?(?:(?:\d++(?:\.\d*+)?|\.\d++)(?:[eE][+-]?\d++)?|inf|nan))(?=[;\t]|\Z)"
_FORMULA = rf"(?='*[^\S;\t\r]*(?!{_NUMBER})[=+\-@＝＋－＠\t\r\0])"
_BEGIN = r"(?:\A|(?<=[;\t]))"
_BARE, _QUOTED = re.compile(_BEGIN + _FORMULA), re.compile(f"{_BEGIN}'{_FORMULA}")


class CsvError(ValueError):
    """The text is not valid CSV. `line` is the line number, the message gives the reason."""

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(reason)
        self.line = line


def write_rows(file: TextIO, rows: Iterable[Sequence[object]]) -> None:
    """Write CSV with LF line endings. Lone surrogates, which UTF-8 cannot encode, are escaped.

    Rows with a carriage return in a cell are quoted. Python's csv does not quote them, and readers reject them.
    """
    plain = csv.writer(file, lineterminator="\n")
    quoted = csv.writer(file, lineterminator="\n", quoting=csv.QUOTE_ALL)
    for row in rows:
        cells = [_written(cell) if isinstance(cell, str) else cell for cell in row]
        (quoted if any("\r" in str(cell) for cell in cells) else plain).writerow(cells)


def read_rows(lines: Iterable[str], *, separator: str = ",") -> Iterator[tuple[int, list[str]]]:
    """Yield each row of CSV: the number of its first line, from 1, and its cells. A blank line has no cells.

    Raises
    ------
    CsvError
        A quote is not closed or is misplaced, or a cell is longer than 131,072 characters.
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
