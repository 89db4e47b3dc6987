"""Tables about songs from spreadsheets and other programs: one line per song, and a column that names it.

CSV with commas, semicolons or tabs, detected from the header; or JSON lines (`.jsonl`). Names of dimensions are
case-insensitive, and numbers may have a decimal comma. `manifest.csv` is stricter, and read by `manifest_file`.
"""

import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from stages.common.csv_text import CsvError, read_rows
from stages.songs.errors import SongsError, printable, shown
from stages.songs.manifest import DIMENSIONS, near_dimension
from stages.songs.manifest_file import KNOWN, check_names
from stages.songs.text_files import csv_rows, read_json_lines, read_text

# Columns that hold a path: names used by NeMo, AudioFolder and others.
PATH_COLUMNS = ("path", "audio_path", "audio_filepath", "file_name")
# Columns that may name a song; the first one present is used. Only one of the loose ones may be present.
ID_COLUMNS = ("song_id", *PATH_COLUMNS)
LOOSE_ID_COLUMNS = ("id", "file", "filename")
# These hold a path, too, if there is a song_id column.
_LOOSE_PATH_COLUMNS = ("file", "filename")
SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs"}
# Never converted to numbers: the file 1,5.wav is not the file 1.5.wav.
_TEXT_COLUMNS = frozenset({*ID_COLUMNS, *LOOSE_ID_COLUMNS, *KNOWN})
# Limit for the cells of a table of JSON lines: this many, or this many times the values written.
_MOST_EMPTY, _FILLED = 1_000_000, 20
_DECIMAL_COMMA = re.compile(r"\s*\d+,\d+\s*")


@dataclass(frozen=True)
class Table:
    """A table about songs.

    Attributes
    ----------
    path
        The file.
    key
        The column that names the songs.
    paths
        Other columns that hold the songs' paths.
    columns
        All columns, in order; dimensions and manifest columns under their standard names.
    rows
        The number of each row's first line, and the row's cells by column.
    notes
        Remarks about columns that were interpreted, for the user.
    """

    path: Path
    key: str
    paths: tuple[str, ...]
    columns: tuple[str, ...]
    rows: tuple[tuple[int, dict[str, str]], ...]
    notes: tuple[str, ...]


def read_table(path: Path) -> Table:
    """Read a table about songs.

    Raises
    ------
    SongsError
        The file cannot be read as CSV or JSON lines; no column names songs, two columns have the same name, or one is a
        misspelt dimension; a row has another length than the header.
    """
    cells = read_cells(path)
    names = {name: plain_name(name) for name in cells.header}
    columns = list(names.values())
    check_names(path, columns)
    _check_spelling(path, columns)
    key = _key_column(path, columns)
    named = ((line, {names[name]: value for name, value in row.items()}) for line, row in cells.rows)
    rows = tuple((line, _with_points(row)) for line, row in named)
    return Table(path, key, _other_paths(key, columns), tuple(columns), rows, tuple(_notes(names, cells.separator)))


class Cells(NamedTuple):
    """A table's columns as written, its rows with the number of their first line, and its separator.

    For JSON lines the separator is empty.
    """

    header: list[str]
    rows: list[tuple[int, dict[str, str]]]
    separator: str


def read_cells(path: Path) -> Cells:
    """Read a table without interpreting its columns.

    If the separator is not a comma, decimal commas in columns of numbers become points. Columns whose commas may all
    separate thousands (such as `1,234`) stay unchanged, and so do ids, paths, splits and systems.

    Raises
    ------
    SongsError
        The file cannot be read as CSV or JSON lines, or a row has another length than the header.
    """
    if path.suffix.lower() == ".jsonl":
        return _json_cells(path)
    text = read_text(path)
    separator = _separator(text)
    # Spreadsheets write an empty line as separators alone.
    found = csv_rows(path, text, separator=separator)
    rows = [(line, cells) for line, cells in found if any(cell.strip() for cell in cells)]
    if not rows:
        raise SongsError(f"{shown(path)}: empty file; expected a header with {' or '.join(ID_COLUMNS)}")
    header = _without_empty_end([name.strip() for name in rows[0][1]])
    check_names(path, header)
    named = [(line, _named(path, line, header, cells, separator)) for line, cells in rows[1:]]
    if separator != ",":
        others = [name for name in header if plain_name(name) not in _TEXT_COLUMNS]
        decimal = [name for name in others if _has_decimal_commas([row[name] for _, row in named])]
        named = [(line, {**row, **{name: row[name].replace(",", ".") for name in decimal}}) for line, row in named]
    return Cells(header, named, separator)


def _has_decimal_commas(values: Sequence[str]) -> bool:
    numbers = [re.fullmatch(r"\s*[+-]?\d+(?:,(\d+))?\s*", value) for value in values if value.strip()]
    fractions = [number[1] for number in numbers if number and number[1]]
    return all(numbers) and any(len(fraction) != len("000") for fraction in fractions)


def _separator(text: str) -> str:
    """The separator for which the header has a column that names songs, or else the most columns."""
    headers = {mark: _first_row(text, mark) for mark in SEPARATORS}

    def fit(mark: str) -> tuple[bool, int]:
        names = {plain_name(name) for name in headers[mark]}
        return bool(names & {*ID_COLUMNS, *LOOSE_ID_COLUMNS}), len(headers[mark])

    return max(headers, key=fit)


def _first_row(text: str, separator: str) -> list[str]:
    try:
        return next(read_rows(io.StringIO(text, newline=""), separator=separator), (1, []))[1]
    except CsvError:  # reported when the rows are read
        return []


def _without_empty_end(cells: Sequence[str]) -> list[str]:
    last = max((number for number, cell in enumerate(cells) if cell.strip()), default=-1)
    return list(cells[: last + 1])


def _named(path: Path, line: int, header: list[str], cells: list[str], separator: str) -> dict[str, str]:
    kept = cells if len(cells) <= len(header) else [*cells[: len(header)], *_without_empty_end(cells[len(header) :])]
    if len(kept) != len(header):
        comma = len(kept) > len(header) and separator == ","
        advice = "; write numbers with a point (3.5), or separate columns by semicolons" if comma else ""
        raise SongsError(
            f"{shown(path)} line {line}: expected {len(header)} cells, as in the header, found {len(kept)}{advice}"
        )
    return dict(zip(header, kept, strict=True))


def _json_cells(path: Path) -> Cells:
    rows = [
        (line, {name.strip(): cell_text(value) for name, value in row.items()}) for line, row in read_json_lines(path)
    ]
    if not rows:
        raise SongsError(f"{shown(path)}: empty file; expected lines with {' or '.join(ID_COLUMNS)}")
    header = list(dict.fromkeys(name for _, row in rows for name in row))
    check_names(path, header)
    # A few kB of lines, each with its own columns, would make a table of gigabytes.
    if len(rows) * len(header) > max(_MOST_EMPTY, _FILLED * sum(len(row) for _, row in rows)):
        raise SongsError(
            f"{shown(path)}: {len(rows)} lines have {len(header)} different columns; use the same columns on every line"
        )
    return Cells(header, [(line, {name: row.get(name, "") for name in header}) for line, row in rows], "")


def cell_text(value: Any) -> str:
    """A JSON value as a table cell: strings unchanged, null as empty, other values as JSON text."""
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def plain_name(name: str) -> str:
    """The standard name of a dimension or known column, in any case; other names unchanged."""
    folded = re.sub(r"[\s-]+", "_", name.strip()).casefold()
    own = {known.casefold(): known for known in (*DIMENSIONS, *KNOWN, *ID_COLUMNS, *LOOSE_ID_COLUMNS)}
    return own.get(folded, name.strip())


def _check_spelling(path: Path, names: Sequence[str]) -> None:
    for name in names:
        if name not in DIMENSIONS and (near := near_dimension(name, present=names)):
            raise SongsError(
                f"{shown(path)} line 1: column {name!r} is not a dimension; did you mean {near}? Rename it"
            )


def _key_column(path: Path, names: Sequence[str]) -> str:
    named = [name for name in ID_COLUMNS if name in names]
    loose = [name for name in LOOSE_ID_COLUMNS if name in names]
    if named:
        return named[0]
    if len(loose) == 1:
        return loose[0]
    why = f"; {' and '.join(loose)} may both name songs: rename one to song_id" if loose else ""
    raise SongsError(
        f"{shown(path)} line 1: expected a column {', '.join(ID_COLUMNS[:-1])} or {ID_COLUMNS[-1]}; "
        f"found {printable(', '.join(names))}{why}"
    )


def _other_paths(key: str, names: Sequence[str]) -> tuple[str, ...]:
    paths = (*PATH_COLUMNS, *(_LOOSE_PATH_COLUMNS if key == ID_COLUMNS[0] else ()))
    return tuple(name for name in paths if name in names and name != key)


def _with_points(cells: Mapping[str, str]) -> dict[str, str]:
    """The cells, with decimal points in ratings. These are from 1 to 5, so a comma never separates thousands."""
    return {
        name: value.replace(",", ".") if name in DIMENSIONS and _DECIMAL_COMMA.fullmatch(value) else value
        for name, value in cells.items()
    }


def _notes(names: Mapping[str, str], separator: str) -> Iterator[str]:
    if separator not in ("", ","):
        yield f"columns are separated by {SEPARATORS[separator]}"
    for written, name in names.items():
        if written != name and name in DIMENSIONS:
            yield f"column {written!r} is {name}"
