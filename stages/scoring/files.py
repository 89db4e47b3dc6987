"""Score files, each written as a whole: JSON, CSV and the challenge's format; and the best song of each prompt."""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from stages.common import csv_text
from stages.scoring.beside.agreement import beside_columns
from stages.scoring.errors import ScoringError
from stages.scoring.inputs import InputSong
from stages.scoring.reward.best_of import PromptChoice
from stages.scoring.rows import SongScore
from store.files.replacing import is_device, replacing
from store.files.visible import to_json, visible


def write_json(path: Path, rows: Sequence[SongScore]) -> None:
    """Write a list of {"song_id", "path", "scores"}; see `SongScore.to_score` for the keys that some songs add."""
    with _replaced(path) as file:
        file.write(to_json([row.to_score() for row in rows], indent=2) + "\n")


def write_csv(path: Path, rows: Sequence[SongScore], dimensions: Sequence[str]) -> None:
    """Write one line per song: id, path, group, scores, standard deviations, warnings or an error, others' scores."""
    with _replaced(path) as file:
        stds = [f"{name}_std" for name in dimensions]
        about = ["novelty", "warning", "error", "loudest_dbfs", "caution"]
        others = beside_columns(rows)
        beside = [f"{model}.{name}" for model, name in others]
        lines = [["song_id", "path", "group", *dimensions, *stds, *about, *beside]]
        for row in rows:
            scores = [_cell(row.scores.get(name)) for name in dimensions]
            spread = [_cell(row.spread.get(name)) for name in dimensions]
            level = "" if row.loudest is None else f"{row.loudest:.1f}"
            about = [_cell(row.novelty), row.warning, row.error, level, row.caution]
            beside = [_cell(row.beside.get(model, {}).get(name)) for model, name in others]
            lines.append([row.song_id, row.path, row.group, *scores, *spread, *about, *beside])
        csv_text.write_rows(file, lines)


def write_choices_json(path: Path, choices: Sequence[PromptChoice]) -> None:
    """Write a list with one object per prompt; see `PromptChoice.to_json`."""
    with _replaced(path) as file:
        file.write(to_json([choice.to_json() for choice in choices], indent=2) + "\n")


def write_choices_csv(path: Path, choices: Sequence[PromptChoice]) -> None:
    """Write one line per prompt: the best candidate, its value and margin, and counts of candidates."""
    with _replaced(path) as file:
        numbers = ["value", "margin", "disagreement"]
        lines = [["prompt", "song_id", "path", *numbers, "runner_up", "candidates", "failed", "flagged", "warning"]]
        for choice in choices:
            song = [choice.best.song_id, choice.best.path] if choice.best else ["", ""]
            values = [_cell(value) for value in (choice.value, choice.margin, choice.disagreement)]
            runner_up = choice.runner_up.song_id if choice.runner_up else ""
            counts = [str(count) for count in (len(choice.candidates), choice.failed, choice.flagged)]
            warning = choice.best.warning if choice.best else ""
            lines.append([choice.prompt, *song, *values, runner_up, *counts, warning])
        csv_text.write_rows(file, lines)


def _cell(value: float | None) -> str:
    return "" if value is None else f"{value:.6f}"


def write_scp(path: Path, rows: Sequence[SongScore]) -> None:
    """Write the challenge's format: one line per song, its id and its scores in order; failed songs have no line."""
    with _replaced(path) as file:
        for row in rows:
            if row.scores:
                file.write(" ".join([row.song_id, *(f"{value:.6f}" for value in row.scores.values())]) + "\n")


def check_scp_ids(songs: Sequence[InputSong]) -> None:
    """Refuse song ids that would be ambiguous in the challenge's format, before anything is scored.

    Raises
    ------
    ScoringError
        An id contains white space or unprintable characters, or two songs have the same id.
    """
    seen: dict[str, InputSong] = {}
    for song in songs:
        if song.song_id.split() != [song.song_id]:
            raise ScoringError(f"--scp: the song id {song.song_id!r} contains white space; rename the file")
        if visible(song.song_id) != song.song_id:
            raise ScoringError(f"--scp: the song id {song.song_id!r} contains unprintable characters; rename the file")
        if song.song_id in seen:
            other = seen[song.song_id].shown_path
            raise ScoringError(f"--scp: {other} and {song.shown_path} have the same song id; rename one of the files")
        seen[song.song_id] = song


@contextmanager
def _replaced(path: Path) -> Iterator[TextIO]:
    """A text file that replaces `path` once it is complete; a link stays, and its target is replaced."""
    with (
        replacing(_target(path), error=ScoringError) as partial,
        partial.open("w", encoding="utf-8", newline="") as file,
    ):
        yield file


def _target(path: Path) -> Path:
    return path if is_device(path) else Path(os.path.realpath(path))


def check_outputs(files: Mapping[str, Path | None], folders: Mapping[str, Path | None]) -> None:
    """Refuse outputs that cannot be written, before anything is scored, and create their folders.

    Parameters
    ----------
    files, folders
        Outputs by the name of their option, such as `--csv`; None where an option is not used.

    Raises
    ------
    ScoringError
        A file is a folder or cannot be written to, or a folder cannot be created or written to.
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
        raise ScoringError(f"{option} {path}: expected a file, found a folder; choose another name")
    if not is_device(path):
        _make_folder(option, _target(path).parent)
    elif not os.access(path, os.W_OK):
        raise ScoringError(f"{option} {path}: cannot be written to; choose another file")


def _make_folder(option: str, folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ScoringError(
            f"{option} {folder}: cannot be created as a folder: {error.strerror}; choose another"
        ) from error
    if not os.access(folder, os.W_OK):
        raise ScoringError(f"{option} {folder}: cannot be written to; choose another folder")
