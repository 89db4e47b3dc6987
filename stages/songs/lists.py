"""Lists of audio files from other programs: Kaldi's `wav.scp`, and JSON lines as in NeMo."""

import os
from pathlib import Path
from typing import NamedTuple

from stages.songs.errors import SongsError, printable, shown
from stages.songs.tables import PATH_COLUMNS, cell_text, plain_name
from stages.songs.text_files import read_json_lines, read_names

SCP, JSONL = ".scp", ".jsonl"


class Listed(NamedTuple):
    """One file of a list: its line number, its id (empty if the list gives none) and its path."""

    line: int
    song_id: str
    path: Path


def is_list(path: Path) -> bool:
    """Whether this is a file with a suffix that `read_list` reads."""
    return path.suffix.lower() in (SCP, JSONL) and os.path.isfile(path)  # noqa: PTH113 - Path's raises for long names


def read_list(path: Path) -> list[Listed]:
    """Read a `.scp` file (`utt path`, one line per file) or a `.jsonl` file (a path in one of `PATH_COLUMNS`).

    Paths are relative to the list's folder, or else to the working directory. In JSON lines the id is `song_id` or else
    `id`, if it is present and not empty. Column names are case-insensitive, as in tables.

    Raises
    ------
    SongsError
        The list cannot be read or is empty, or a line is a command (`… |`) or has no path.
    """
    listed = _scp(path) if path.suffix.lower() == SCP else _json_lines(path)
    if not listed:
        raise SongsError(f"{shown(path)}: lists no files; expected one per line")
    return listed


def listed_path(folder: Path, name: str) -> Path:
    """A path in a list: relative to the list's folder, or to the working directory if it exists only there."""
    place = folder / name
    is_beside = os.path.exists(place) or not os.path.exists(name)  # noqa: PTH110 - Path's raises for names that are too long
    return place if is_beside else Path(name)


def _scp(path: Path) -> list[Listed]:
    lines = enumerate(read_names(path), start=1)
    return [_utterance(path, number, text.strip()) for number, text in lines if text.strip()]


def _utterance(path: Path, line: int, text: str) -> Listed:
    song_id, _, place = text.replace("\t", " ", 1).partition(" ")
    place = place.strip()
    if place.endswith("|"):
        raise SongsError(
            f"{shown(path)} line {line}: {printable(place)} is a command, expected a file; write the command's output "
            "to a file and list that"
        )
    if not place:
        raise SongsError(f"{shown(path)} line {line}: expected an id, a space and a path, found {printable(text)}")
    return Listed(line, song_id, listed_path(path.parent, place))


def _json_lines(path: Path) -> list[Listed]:
    listed = []
    for line, written in read_json_lines(path):
        row = {plain_name(name): value for name, value in written.items()} | written
        place = next((row[name] for name in PATH_COLUMNS if row.get(name)), None)
        if not isinstance(place, str):
            columns = f"{', '.join(PATH_COLUMNS[:-1])} or {PATH_COLUMNS[-1]}"
            raise SongsError(f"{shown(path)} line {line}: expected a string in {columns}")
        ids = (cell_text(row.get(name)) for name in ("song_id", "id"))
        listed.append(Listed(line, next((text for text in ids if text.strip()), ""), listed_path(path.parent, place)))
    return listed
