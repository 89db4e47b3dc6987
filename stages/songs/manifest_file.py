"""`manifest.csv` on disk: reading it with every check, and writing what reads back."""

import csv
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, Field, ValidationError

from stages.songs.errors import SongsError
from stages.songs.manifest import DIMENSIONS, Manifest, Song

REQUIRED = ("song_id", "path", "split")
KNOWN = (*REQUIRED, "system")


class _Row(BaseModel):
    """What a row must hold; labels come as text and leave as numbers."""

    song_id: str = Field(min_length=1)
    path: str = Field(min_length=1)
    split: Literal["train", "val", "test"]
    system: str = ""
    labels: dict[str, Annotated[float, Field(ge=1, le=5, allow_inf_nan=False)]]


def read_manifest(path: str | Path, *, check_files: bool = True) -> Manifest:
    """Read a manifest.

    Parameters
    ----------
    path
        The CSV file, UTF-8.
    check_files
        Whether each audio file must exist. Extraction leaves it out: there a missing file is that song's failure.

    Raises
    ------
    SongsError
        The file is missing, empty or no CSV; a column is missing or named twice; an id is empty or used twice; a split
        is none of train, val and test; a label is no number from 1 to 5; a file is missing. With the line.
    """
    where = Path(path)
    songs: dict[str, Song] = {}
    lines: dict[str, int] = {}
    for line, cells in read_rows(where, required=REQUIRED):
        song = _song(where, line, cells)
        if song.song_id in songs:
            first = lines[song.song_id]
            raise SongsError(
                f"{where} line {line}: song_id {song.song_id!r} is on line {first} already; ids are unique"
            )
        if check_files and not os.path.isfile(song.path):  # noqa: PTH113 - Path.is_file raises where a folder is closed
            raise SongsError(f"{where} line {line}: {song.path} is no file; mend the path or remove the line")
        songs[song.song_id], lines[song.song_id] = song, line
    if not songs:
        raise SongsError(f"{where}: lists no songs; expected at least one line below the header")
    return Manifest(where, tuple(songs.values()))


def read_rows(path: Path, *, required: Sequence[str]) -> Iterator[tuple[int, dict[str, str]]]:
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
        raise SongsError(f"{path}: is empty; expected a header with {', '.join(required)}")
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


def _song(manifest: Path, line: int, cells: dict[str, str]) -> Song:
    labels = {name: cells[name] for name in DIMENSIONS if cells.get(name, "").strip()}
    known = {name: cells[name] for name in KNOWN if name in cells}
    try:
        row = _Row.model_validate({**known, "labels": labels})
    except ValidationError as error:
        raise SongsError(f"{manifest} line {line}: {_first_problem(error)}") from error
    path = Path(os.path.abspath(manifest.parent / row.path))  # noqa: PTH100 - resolve() would follow links
    extra = {name: value for name, value in cells.items() if name not in KNOWN and name not in DIMENSIONS}
    return Song(row.song_id, path, row.split, row.system, row.labels, extra)


def _first_problem(error: ValidationError) -> str:
    first = error.errors()[0]
    column, found = first["loc"][-1], first["input"]
    if first["type"] == "string_too_short":
        return f"{column} is empty"
    if column == "split":
        return f"expected train, val or test as split, found {found!r}"
    return f"expected a number from 1 to 5 for {column}, found {found!r}"


def write_manifest(path: str | Path, songs: Sequence[Song]) -> None:
    """Write a manifest, with paths relative to it; it appears whole or not at all.

    Raises
    ------
    SongsError
        What would be written has an error that `read_manifest` names, such as an id used twice.
    """
    where = Path(path)
    where.parent.mkdir(parents=True, exist_ok=True)
    draft = where.with_name(f".{where.name}.{os.getpid()}.draft")
    try:
        _write_rows(draft, where.parent, songs)
        read_manifest(draft, check_files=False)
        draft.replace(where)
    except SongsError as error:
        raise SongsError(str(error).replace(str(draft), str(where))) from error
    finally:
        draft.unlink(missing_ok=True)


def _write_rows(path: Path, folder: Path, songs: Sequence[Song]) -> None:
    labels = [name for name in DIMENSIONS if any(name in song.labels for song in songs)]
    extra = list(dict.fromkeys(name for song in songs for name in song.extra))
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([*KNOWN, *labels, *extra])
        for song in songs:
            ratings = [repr(float(song.labels[name])) if name in song.labels else "" for name in labels]
            texts = [song.extra.get(name, "") for name in extra]
            place = os.path.relpath(song.path, folder)
            writer.writerow([song.song_id, place, song.split, song.system, *ratings, *texts])
