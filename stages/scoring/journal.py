"""The journal (`--jsonl`): one JSON line per song, written as soon as the song is scored; `--resume` continues it."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

from stages.scoring.errors import ScoringError
from stages.scoring.rows import SongScore
from store.files.json_text import parse_json
from store.files.regular import LARGEST_TEXT, IrregularFileError, read_regular
from store.files.replacing import is_device, write_errors
from store.files.visible import to_json

# The path (or the song id, where there is no file), the hash of the file's bytes, and the model.
ResumeKey = tuple[str, str, str]


class Journal:
    """A file of JSON lines, one per song, flushed after each.

    A song that fails with the same error as in its last line adds no line.

    Parameters
    ----------
    path
        Created if it does not exist. An incomplete last line gets a line break; `read_journal` skips it.
    fresh
        Whether to empty the file first instead of appending.

    Raises
    ------
    ScoringError
        The file cannot be written.
    """

    def __init__(self, path: Path, *, fresh: bool) -> None:
        self._path = path
        with write_errors(path, ScoringError):
            # A pipe or a device cannot be read back.
            fresh = fresh or is_device(path)
            self._failures = {} if fresh else _failures(path)
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file: TextIO = path.open("w" if fresh else "a", encoding="utf-8")
            if not fresh and _ends_mid_line(path):
                self._file.write("\n")

    def add(self, row: SongScore) -> None:
        """Write a song's line. Raises ScoringError if the file cannot be written."""
        values = row.to_json()
        if row.error and self._failures.get(_song(values)) == values:
            return
        with write_errors(self._path, ScoringError):
            self._file.write(to_json(values) + "\n")
            self._file.flush()

    def close(self) -> None:
        """Close the file. Raises ScoringError if the file cannot be written."""
        with write_errors(self._path, ScoringError):
            self._file.close()


def _failures(path: Path) -> dict[str, dict[str, Any]]:
    """The last line of each song, by path or id, where that line is a failure."""
    if not path.exists():
        return {}
    last = {row.path or row.song_id: row for line in _lines(path) if (row := _parsed(line)) is not None}
    return {song: row.to_json() for song, row in last.items() if row.error}


def _song(values: Mapping[str, Any]) -> str:
    return str(values["path"] or values["song_id"])


def _ends_mid_line(path: Path) -> bool:
    with path.open("rb") as file:
        if file.seek(0, os.SEEK_END) == 0:
            return False
        file.seek(-1, os.SEEK_END)
        return file.read(1) != b"\n"


def read_journal(path: Path) -> dict[ResumeKey, SongScore]:
    """Read the scored songs of a journal; failed songs and incomplete lines are left out.

    Raises
    ------
    ScoringError
        The file exists but cannot be read, or it has no complete line of a journal.
    """
    if not path.exists() or is_device(path):
        return {}
    lines = _lines(path)
    rows: dict[ResumeKey, SongScore] = {}
    for line in lines:
        row = _parsed(line)
        if row is not None and row.scores:
            rows[resume_key(row.song_id, row.path, row.source, row.model)] = row
    if not rows and any(line.strip() for line in lines) and all(_parsed(line) is None for line in lines[:-1] or lines):
        raise ScoringError(
            f"{path}: expected JSON lines of scores, found other text; choose another file or omit --resume"
        )
    return rows


def _lines(path: Path) -> list[str]:
    try:
        return read_regular(path, largest=LARGEST_TEXT).decode().split("\n")
    except (OSError, UnicodeDecodeError, IrregularFileError) as error:
        raise ScoringError(f"{path}: cannot be read: {error}; choose another file or omit --resume") from error


def _parsed(line: str) -> SongScore | None:
    try:
        return SongScore.from_json(parse_json(line))
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def resume_key(song_id: str, path: str, source: str, model: str) -> ResumeKey:
    """A row's key, equal for equal results: the file (or, without one, the song id), its bytes, and the model."""
    return (path or song_id, source, model)
