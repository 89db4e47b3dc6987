"""Rows of `manifest.csv`: read with the line that each begins on, and checked."""

import io
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, Field, ValidationError

from stages.common import csv_text
from stages.common.csv_text import CsvError
from stages.songs.errors import SongsError
from stages.songs.manifest import DIMENSIONS
from stages.songs.text_file import decoded, read_given

REQUIRED = ("song_id", "path", "split")
KNOWN = (*REQUIRED, "system")
MOST_COLUMNS = 10_000


class ManifestRow(BaseModel):
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
    text = decoded(path, read_given(path), "utf-8-sig")
    try:
        rows = csv_text.read_rows(io.StringIO(text, newline=""))
        _, header = next(rows, (1, []))
        _check_header(path, header, required)
        for begins, cells in rows:
            if cells:
                yield begins, _named(path, begins, header, cells)
    except CsvError as error:
        raise SongsError(f"{path} line {error.line}: is not CSV: {error}") from error


def _check_header(path: Path, header: list[str], required: Sequence[str]) -> None:
    if not header:
        raise SongsError(f"{path}: is empty; expected a header with {', '.join(required or KNOWN)}")
    missing = [name for name in required if name not in header]
    if missing:
        found = ", ".join(header)
        raise SongsError(
            f"{path} line 1: no column {', '.join(missing)}; found {found}{_header_advice(header, missing)}"
        )
    check_names(path, header)


def _header_advice(header: list[str], missing: Sequence[str]) -> str:
    """What may be wrong with a header that lacks columns."""
    if len(header) == 1 and re.search("[;\t]", header[0]):
        return "; separate columns by commas, or make a manifest of this file with hear-data folder --labels"
    written = {name.strip().casefold(): name for name in header}
    near = [f"{written[name]!r} as {name}" for name in missing if name in written]
    return f"; write {', '.join(near)}" if near else ""


def check_names(path: Path, columns: Sequence[str]) -> None:
    """Refuse two columns with the same name, and more columns than a table has.

    Raises
    ------
    SongsError
        Names the first that repeats.
    """
    if len(columns) > MOST_COLUMNS:
        raise SongsError(f"{path} line 1: expected at most {MOST_COLUMNS} columns, found {len(columns)}")
    twice = [name for name, count in Counter(columns).items() if count > 1]
    if twice:
        raise SongsError(f"{path} line 1: two columns are named {twice[0]!r}; rename one")


def _named(path: Path, line: int, header: list[str], cells: list[str]) -> dict[str, str]:
    if len(cells) != len(header):
        raise SongsError(f"{path} line {line}: expected {len(header)} cells, as in the header, found {len(cells)}")
    return dict(zip(header, cells, strict=True))


def check_row(path: Path, line: int, cells: dict[str, str]) -> ManifestRow:
    """Check the cells of one song: what is known of it, and its labels.

    Raises
    ------
    SongsError
        An id or a path is empty, the split is unknown, or a label is no number from 1 to 5. With the line.
    """
    labels = {name: cells[name] for name in DIMENSIONS if cells.get(name, "").strip()}
    known = {name: cells[name] for name in KNOWN if name in cells}
    try:
        return ManifestRow.model_validate({**known, "labels": labels})
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
    point = f"; write {found.replace(',', '.')}" if re.fullmatch(r"\s*\d+,\d+\s*", found) else ""
    return f"expected a number from 1 to 5 for {column}, found {found!r}{point}"
