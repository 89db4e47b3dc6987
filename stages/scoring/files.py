"""Score files: JSON lines that grow while songs are scored, and JSON, CSV and the challenge's lines written whole."""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from stages.common import csv_text
from stages.scoring.errors import ScoringError
from stages.scoring.inputs import Candidate
from stages.scoring.rows import SongScore
from store.files.json_text import parse_json
from store.files.regular import LARGEST_TEXT, IrregularFileError, read_regular
from store.files.replacing import is_device, replacing
from store.files.visible import to_json, visible

# The file (or, without one, the song), the hash of its bytes, the model.
ResumeKey = tuple[str, str, str]


class Journal:
    """A file of JSON lines, a song each, flushed after each; opened to add to what is there.

    A song that fails again as its last line there says adds no line.

    Parameters
    ----------
    path
        Made where it does not exist. A last line that was cut off is ended, and ignored by `read_journal`.
    fresh
        Empty it first.

    Raises
    ------
    ScoringError
        It cannot be written.
    """

    def __init__(self, path: Path, *, fresh: bool) -> None:
        self._path = path
        with _told(path):
            # What a pipe or a device was sent before cannot be read again.
            fresh = fresh or is_device(path)
            self._failures = {} if fresh else _failures(path)
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file: TextIO = path.open("w" if fresh else "a", encoding="utf-8")
            if not fresh and _cut_off(path):
                self._file.write("\n")

    def add(self, row: SongScore) -> None:
        """Write a song down. Raises ScoringError where the disk refuses it."""
        values = row.to_json()
        if row.error and self._failures.get(_song(values)) == values:
            return
        with _told(self._path):
            self._file.write(to_json(values) + "\n")
            self._file.flush()

    def close(self) -> None:
        """Close the file. Raises as `add`."""
        with _told(self._path):
            self._file.close()


@contextmanager
def _told(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ScoringError(f"{path}: cannot be written: {error.strerror}") from error


def _failures(path: Path) -> dict[str, dict[str, Any]]:
    """What the last line of each song says that failed, by file (or, without one, song)."""
    if not path.exists():
        return {}
    last = {row.path or row.song_id: row for line in _lines(path) if (row := _parsed(line)) is not None}
    return {song: row.to_json() for song, row in last.items() if row.error}


def _song(values: Mapping[str, Any]) -> str:
    return str(values["path"] or values["song_id"])


def _cut_off(path: Path) -> bool:
    with path.open("rb") as file:
        if file.seek(0, os.SEEK_END) == 0:
            return False
        file.seek(-1, os.SEEK_END)
        return file.read(1) != b"\n"


def read_journal(path: Path) -> dict[ResumeKey, SongScore]:
    """Songs that a journal has scores for, by (path or id, source, model). A line that was cut off is no song.

    Raises
    ------
    ScoringError
        The file is there but cannot be read, or a line before the last is not ours.
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
        raise ScoringError(f"{path}: these are not lines of scores; choose another file or leave --resume out")
    return rows


def _lines(path: Path) -> list[str]:
    try:
        return read_regular(path, largest=LARGEST_TEXT).decode().split("\n")
    except (OSError, UnicodeDecodeError, IrregularFileError) as error:
        raise ScoringError(f"{path}: cannot be read: {error}; choose another file or leave --resume out") from error


def _parsed(line: str) -> SongScore | None:
    try:
        return SongScore.from_json(parse_json(line))
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def resume_key(song_id: str, path: str, source: str, model: str) -> ResumeKey:
    """What makes two rows the same: the file (or, without one, the song), its bytes, and the model."""
    return (path or song_id, source, model)


def write_json(path: Path, rows: Sequence[SongScore]) -> None:
    """A list of {"song_id", "path", "scores"}, and `caution` if there is one; failed songs have an error, no scores."""
    with _whole(path) as file:
        file.write(to_json([row.to_score() for row in rows], indent=2) + "\n")


def write_csv(path: Path, rows: Sequence[SongScore], dimensions: Sequence[str]) -> None:
    """One line per song: id, path, group, scores, standard deviations, novelty, warning, error, level, caution."""
    with _whole(path) as file:
        stds = [f"{name}_std" for name in dimensions]
        about = ["novelty", "warning", "error", "loudest_dbfs", "caution"]
        lines = [["song_id", "path", "group", *dimensions, *stds, *about]]
        for row in rows:
            scores = [_cell(row.scores.get(name)) for name in dimensions]
            spread = [_cell(row.spread.get(name)) for name in dimensions]
            level = "" if row.loudest is None else f"{row.loudest:.1f}"
            about = [_cell(row.novelty), row.warning, row.error, level, row.caution]
            lines.append([row.song_id, row.path, row.group, *scores, *spread, *about])
        csv_text.write_rows(file, lines)


def _cell(value: float | None) -> str:
    return "" if value is None else f"{value:.6f}"


def write_scp(path: Path, rows: Sequence[SongScore]) -> None:
    """The challenge's format: `utt score`, or `utt` and the scores in order; songs that failed have no line."""
    with _whole(path) as file:
        for row in rows:
            if row.scores:
                file.write(" ".join([row.song_id, *(f"{value:.6f}" for value in row.scores.values())]) + "\n")


def check_scp_ids(candidates: Sequence[Candidate]) -> None:
    """Refuse song ids that the challenge's lines cannot tell apart, before anything is scored.

    Raises
    ------
    ScoringError
        An id has white space or unprintable characters in it, or two songs have one id.
    """
    seen: dict[str, Candidate] = {}
    for candidate in candidates:
        if candidate.song_id.split() != [candidate.song_id]:
            raise ScoringError(f"--scp: the song id {candidate.song_id!r} has white space in it; rename the file")
        if visible(candidate.song_id) != candidate.song_id:
            raise ScoringError(
                f"--scp: the song id {candidate.song_id!r} has characters that are not printable; rename the file"
            )
        if candidate.song_id in seen:
            other = seen[candidate.song_id].shown_path
            raise ScoringError(f"--scp: {other} and {candidate.shown_path} give one song id; rename one of the files")
        seen[candidate.song_id] = candidate


@contextmanager
def _whole(path: Path) -> Iterator[TextIO]:
    """A text file that takes its place when it is complete; a link stays, and what it leads to is replaced."""
    with (
        replacing(_target(path), error=ScoringError) as partial,
        partial.open("w", encoding="utf-8", newline="") as file,
    ):
        yield file


def _target(path: Path) -> Path:
    return path if is_device(path) else Path(os.path.realpath(path))


def check_outputs(files: Mapping[str, Path | None], folders: Mapping[str, Path | None]) -> None:
    """Refuse what cannot be written before anything is scored, and make the folders; keys are the options' names.

    Raises
    ------
    ScoringError
        A file is a folder or a device that cannot be written to, or a folder cannot be made or written to.
    """
    for option, path in files.items():
        if path is not None:
            try:
                _check_file(option, path)
            except OSError as error:  # such as a name that is too long
                raise ScoringError(f"{option} {path}: {error.strerror}; choose another file") from error
    for option, folder in folders.items():
        if folder is not None:
            _make_folder(option, folder)


def _check_file(option: str, path: Path) -> None:
    if path.is_dir():
        raise ScoringError(f"{option} {path}: is a folder; expected a file to write")
    if not is_device(path):
        _make_folder(option, _target(path).parent)
    elif not os.access(path, os.W_OK):
        raise ScoringError(f"{option}: {path} cannot be written to; choose another file")


def _make_folder(option: str, folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ScoringError(f"{option}: {folder} cannot be made a folder: {error.strerror}") from error
    if not os.access(folder, os.W_OK):
        raise ScoringError(f"{option}: {folder} cannot be written to; choose another folder")
