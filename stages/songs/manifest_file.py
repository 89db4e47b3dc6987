"""`manifest.csv` on disk: read with every check, and written so that it reads back unchanged."""

import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, Field, ValidationError

from stages.common import csv_text
from stages.songs.errors import SongsError, shown
from stages.songs.manifest import DIMENSIONS, Manifest, Song
from stages.songs.text_files import csv_rows, decoded, read_given

REQUIRED = ("song_id", "path", "split")
KNOWN = (*REQUIRED, "system")
MOST_COLUMNS = 10_000


class ManifestRow(BaseModel):
    """The checked cells of one row. Ratings are parsed from text."""

    song_id: str = Field(min_length=1)
    path: str = Field(min_length=1)
    split: Literal["train", "val", "test"]
    system: str = ""
    labels: dict[str, Annotated[float, Field(ge=1, le=5, allow_inf_nan=False)]]


def read_manifest(path: str | Path, *, check_files: bool = True) -> Manifest:
    """Read a manifest: the songs with their splits and ratings.

    Parameters
    ----------
    path
        The CSV file, UTF-8.
    check_files
        Whether each audio file must exist. Extraction does not check: there a missing file fails only its song.

    Returns
    -------
    Manifest
        The songs, in the file's order.

    Raises
    ------
    SongsError
        The file is missing, empty or not CSV; a column is missing or repeated; an id is empty or repeated; a split is
        not train, val or test; a rating is not a number from 1 to 5; an audio file is missing. The message names the
        line.

    Examples
    --------
    >>> import hear_music as hear
    >>> manifest = hear.read_manifest("manifest.csv")
    >>> manifest.counts()
    {'train': 6, 'val': 2}
    """
    where = Path(path)
    songs: dict[str, Song] = {}
    lines: dict[str, int] = {}
    for line, cells in _read_rows(where):
        song = _song(where, line, cells)
        if song.song_id in songs:
            first = lines[song.song_id]
            raise SongsError(
                f"{where} line {line}: song_id {song.song_id!r} is already on line {first}; make ids unique"
            )
        if check_files and not os.path.isfile(song.path):  # noqa: PTH113 - Path.is_file raises where a folder is closed
            raise SongsError(f"{where} line {line}: {shown(song.path)} is not a file; correct or remove the line")
        songs[song.song_id], lines[song.song_id] = song, line
    if not songs:
        raise SongsError(f"{where}: lists no songs; expected at least one line below the header")
    return Manifest(where, tuple(songs.values()))


def as_manifest(manifest: Manifest | str | Path) -> Manifest:
    """The manifest itself, or the one in a file, for work on stored embeddings: the audio files may be elsewhere."""
    return manifest if isinstance(manifest, Manifest) else read_manifest(manifest, check_files=False)


def _song(manifest: Path, line: int, cells: dict[str, str]) -> Song:
    row = check_row(manifest, line, cells)
    path = Path(os.path.abspath(manifest.parent / row.path))  # noqa: PTH100 - resolve() would follow links
    return Song(row.song_id, path, row.split, row.system, row.labels, extra_of(cells))


def write_manifest(path: str | Path, songs: Sequence[Song]) -> None:
    """Write a manifest atomically, with paths relative to it.

    Raises
    ------
    SongsError
        The songs would make an invalid manifest, for example with a repeated id, or the file cannot be written.
    """
    where = Path(path)
    draft = where.with_name(f".{where.name}.{os.getpid()}.draft")
    try:
        where.parent.mkdir(parents=True, exist_ok=True)
        _write_rows(draft, where.parent, songs)
        read_manifest(draft, check_files=False)
        draft.replace(where)
    except SongsError as error:
        raise SongsError(str(error).replace(str(draft), str(where))) from error
    except OSError as error:
        raise SongsError(f"{where}: cannot be written: {error.strerror}; choose another path") from error
    except UnicodeEncodeError as error:
        text = error.object[max(0, error.start - 20) : error.end + 20]
        raise SongsError(f"{where}: cannot be written: {text!r} cannot be encoded as UTF-8; correct it") from error
    finally:
        with suppress(OSError):
            draft.unlink(missing_ok=True)


def _write_rows(path: Path, folder: Path, songs: Sequence[Song]) -> None:
    labels = [name for name in DIMENSIONS if any(name in song.labels for song in songs)]
    extra = list(dict.fromkeys(name for song in songs for name in song.extra))
    rows = [[*KNOWN, *labels, *extra]]
    for song in songs:
        ratings = [repr(float(song.labels[name])) if name in song.labels else "" for name in labels]
        texts = [song.extra.get(name, "") for name in extra]
        rows.append([song.song_id, os.path.relpath(song.path, folder), song.split, song.system, *ratings, *texts])
    with path.open("w", encoding="utf-8", newline="") as file:
        csv_text.write_rows(file, rows)


def _read_rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield each row of a CSV file with a header: the number of its first line, and its cells by column.

    Raises
    ------
    SongsError
        The file cannot be read, is not UTF-8 or not CSV, lacks a required column, or a row has the wrong length.
    """
    text = decoded(path, read_given(path), "utf-8-sig")
    rows = csv_rows(path, text)
    _, header = next(rows, (1, []))
    _check_header(path, header)
    for begins, cells in rows:
        if cells:
            yield begins, _named(path, begins, header, cells)


def _check_header(path: Path, header: list[str]) -> None:
    if not header:
        raise SongsError(f"{path}: is empty; expected a header with {', '.join(REQUIRED)}")
    missing = [name for name in REQUIRED if name not in header]
    if missing:
        found = ", ".join(header)
        raise SongsError(
            f"{path} line 1: no column {', '.join(missing)}; found {found}{_header_advice(header, missing)}"
        )
    check_names(path, header)


def _header_advice(header: list[str], missing: Sequence[str]) -> str:
    """Advice about a header that lacks columns."""
    if len(header) == 1 and re.search("[;\t]", header[0]):
        return "; separate columns by commas, or use hear-data folder --labels to make a manifest from this file"
    written = {name.strip().casefold(): name for name in header}
    near = [f"{written[name]!r} as {name}" for name in missing if name in written]
    return f"; write {', '.join(near)}" if near else ""


def check_names(path: Path, columns: Sequence[str]) -> None:
    """Refuse repeated column names, and absurd numbers of columns.

    Raises
    ------
    SongsError
        A name is repeated, or there are too many columns.
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
    """Check the cells of one song.

    Raises
    ------
    SongsError
        An id or path is empty, the split is unknown, or a rating is not a number from 1 to 5.
    """
    labels = {name: cells[name] for name in DIMENSIONS if cells.get(name, "").strip()}
    known = {name: cells[name] for name in KNOWN if name in cells}
    try:
        return ManifestRow.model_validate({**known, "labels": labels})
    except ValidationError as error:
        raise SongsError(f"{path} line {line}: {_first_problem(error)}") from error


def extra_of(cells: dict[str, str]) -> dict[str, str]:
    """The cells of columns that are neither known nor dimensions."""
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
