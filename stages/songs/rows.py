"""Rows of CSV files about songs: read with the line that each begins on, and checked."""

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, Field, ValidationError

from stages.songs.errors import SongsError
from stages.songs.manifest import DIMENSIONS

REQUIRED = ("song_id", "path", "split")
KNOWN = (*REQUIRED, "system")


class Row(BaseModel):
    """What a row must hold; labels come as text and leave as numbers."""

    song_id: str = Field(min_length=1)
    path: str = Field(min_length=1)
    split: Literal["train", "val", "test"]
    system: str = ""
    labels: dict[str, Annotated[float, Field(ge=1, le=5, allow_inf_nan=False)]]


def read_rows(path: Path, *, required: Sequence[str] = ()) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield each row of a CSV file with a header: the line it begins on, and its cells by column.

    Raises
    ------
    SongsError
        The file cannot be read, is no UTF-8 or no CSV, lacks a required column, or a row has another length.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            header = next(reader, [])
            _check_header(path, header, required)
            begins = reader.line_num + 1
            for cells in reader:
                if cells:
                    yield begins, _named(path, begins, header, cells)
                begins = reader.line_num + 1
    except OSError as error:
        raise SongsError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise SongsError(f"{path}: is not UTF-8 text ({error.reason}); save it as UTF-8") from error
    except csv.Error as error:
        raise SongsError(f"{path} line {reader.line_num}: is not CSV: {error}") from error


def _check_header(path: Path, header: list[str], required: Sequence[str]) -> None:
    if not header:
        raise SongsError(f"{path}: is empty; expected a header with {', '.join(required or KNOWN)}")
    missing = [name for name in required if name not in header]
    if missing:
        raise SongsError(f"{path} line 1: no column {', '.join(missing)}; found {', '.join(header)}")
    twice = [name for name in header if header.count(name) > 1]
    if twice:
        raise SongsError(f"{path} line 1: two columns are named {twice[0]!r}; rename one")


def _named(path: Path, line: int, header: list[str], cells: list[str]) -> dict[str, str]:
    if len(cells) != len(header):
        raise SongsError(f"{path} line {line}: expected {len(header)} cells, as in the header, found {len(cells)}")
    return dict(zip(header, cells, strict=True))


def check_row(path: Path, line: int, cells: dict[str, str]) -> Row:
    """Check the cells of one song: what is known of it, and its labels.

    Raises
    ------
    SongsError
        An id or a path is empty, the split is unknown, or a label is no number from 1 to 5. With the line.
    """
    labels = {name: cells[name] for name in DIMENSIONS if cells.get(name, "").strip()}
    known = {name: cells[name] for name in KNOWN if name in cells}
    try:
        return Row.model_validate({**known, "labels": labels})
    except ValidationError as error:
        raise SongsError(f"{path} line {line}: {_first_problem(error)}") from error


def extra_of(cells: dict[str, str]) -> dict[str, str]:
    """The columns that are neither known nor dimensions, as text."""
    return {name: value for name, value in cells.items() if name not in KNOWN and name not in DIMENSIONS}


def _first_problem(error: ValidationError) -> str:
    first = error.errors()[0]
    column, found = first["loc"][-1], first["input"]
    if first["type"] == "string_too_short":
        return f"{column} is empty"
    if column == "split":
        return f"expected train, val or test as split, found {found!r}"
    return f"expected a number from 1 to 5 for {column}, found {found!r}"
