"""Songs from a folder or a list of audio files: one song per file, optional labels from a table, a seeded split."""

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from stages.songs.errors import SongsError, printable, shown
from stages.songs.lists import is_list, read_list
from stages.songs.manifest import DIMENSIONS, Song
from stages.songs.manifest_file import ManifestRow, check_row, extra_of
from stages.songs.song_ids import SongIndex, distinct_ids, first_folder, relative_id
from stages.songs.tables import Table, read_table

# Formats that FFmpeg decodes here. Songs with other suffixes can be listed in a manifest written by hand.
SUFFIXES = (
    *(".wav", ".flac", ".mp3", ".ogg", ".oga", ".opus", ".aif", ".aiff", ".aifc", ".au", ".caf", ".w64", ".rf64"),
    *(".m4a", ".m4b", ".mp4", ".aac", ".wma", ".webm", ".mka", ".ape", ".wv"),
)
# Tables in data sets with the AudioFolder layout of the Hugging Face library `datasets`.
AUDIO_FOLDER_TABLES = ("metadata.csv", "metadata.jsonl")


def read_folder(
    audio: str | Path,
    *,
    labels: str | Path | None = None,
    validation: float = 0.1,
    test: float = 0.0,
    seed: int = 0,
    system_from_folder: bool = False,
    say: Callable[[str], None] = lambda line: None,
) -> list[Song]:
    """Read the songs of a folder and its subfolders, or of a list of files.

    Parameters
    ----------
    audio
        A folder, or a list (see `read_list`). In a folder, all files with an audio suffix are songs, except hidden
        files. The song id is the file's path below the folder, without the suffix (`modelA/001`).
    labels
        A table (see `read_table`) with a column that names songs, and columns as in a manifest: `split`, `system`, the
        dimensions and any others, all optional. Songs may be named by id or path, with or without folder, suffix and
        leading zeros, if that is unambiguous. Id and path in a row must name the same song. If no id matches a song
        exactly, the paths are used instead. Without `labels`, a list in JSON lines is its own table.
    validation, test
        Fractions of the songs without a split in the table, drawn with `seed`. The rest is for training.
    system_from_folder
        Use the first folder of the id as the system of songs without one in the table.
    say
        Called with lines about how the table was read and which files were ignored.

    Raises
    ------
    SongsError
        There is no audio; two files have the same id; a line of the table matches no song or several, or has an error;
        a fraction is invalid, or no song is left for training.
    """
    place = Path(audio).absolute()
    by_line = _listed(place) if is_list(place) else {}
    songs, root = (
        ({song.song_id: song for song in by_line.values()}, place.parent) if by_line else (_below(place), place)
    )
    if labels is not None:
        songs = _labelled(songs, *_matched(songs, read_table(Path(labels)), root), say)
    elif by_line and _is_table(place):
        table = read_table(place)
        songs = _labelled(songs, table, [by_line[line] for line, _ in table.rows], say)
    else:
        _report_ignored_tables(root, say)
    if system_from_folder:
        songs = {name: replace(song, system=song.system or first_folder(name)) for name, song in songs.items()}
    return _split(songs, validation=validation, test=test, seed=seed)


def _is_table(path: Path) -> bool:
    return path.suffix.lower() == ".jsonl"


def _report_ignored_tables(root: Path, say: Callable[[str], None]) -> None:
    for name in AUDIO_FOLDER_TABLES:
        if (root / name).is_file():
            say(f"{shown(root / name)} is ignored; name it with --labels to read its columns")


def _below(root: Path) -> dict[str, Song]:
    if not os.path.isdir(root):  # noqa: PTH112 - Path.is_dir raises for names that are too long
        raise SongsError(f"{shown(root)}: not a folder; expected a folder of audio files or a list (.scp, .jsonl)")
    songs: dict[str, Song] = {}
    for path in audio_files(root):
        if not os.path.isfile(path):  # noqa: PTH113 - Path.is_file raises for links in a circle
            raise SongsError(f"{shown(path)}: not a file, or a broken link; fix or remove it")
        song_id = relative_id(path, root)
        other = songs.get(song_id)
        if other is not None:
            raise SongsError(
                f"{shown(other.path)} and {shown(path)} give the same song id {song_id!r}; remove or rename one of them"
            )
        songs[song_id] = Song(song_id, path, "")
    if not songs:
        raise SongsError(f"{shown(root)}: no audio files; looked for {' '.join(SUFFIXES)} in it and its subfolders")
    return songs


def _listed(path: Path) -> dict[int, Song]:
    """The songs of a list, by line number."""
    files = [one._replace(path=_encodable(one.path.absolute())) for one in read_list(path)]
    for one in files:
        if not os.path.isfile(one.path):  # noqa: PTH113 - Path.is_file raises where a folder is closed
            raise SongsError(f"{shown(path)} line {one.line}: {shown(one.path)} is not a file; correct the path")
    free = [one.path for one in files if not one.song_id]
    names = iter(
        distinct_ids([place.stem for place in free], free, taken={one.song_id for one in files if one.song_id})
    )
    songs: dict[int, Song] = {}
    ids: set[str] = set()
    for one in files:
        song_id = one.song_id or next(names)
        if song_id in ids:
            raise SongsError(f"{shown(path)} line {one.line}: song id {song_id!r} is on an earlier line; rename one")
        ids.add(song_id)
        songs[one.line] = Song(song_id, one.path, "")
    return songs


def audio_files(root: Path) -> list[Path]:
    """Audio files of a folder and its subfolders by their suffix, sorted by name, without hidden files.

    Raises
    ------
    SongsError
        A folder cannot be listed, or a name is not UTF-8.
    """

    def stop(error: OSError) -> None:
        raise SongsError(f"{error.filename}: cannot be listed: {error.strerror}") from error

    found = []
    for folder, below, names in os.walk(root, onerror=stop):
        below.sort()
        chosen = [name for name in sorted(names) if name.lower().endswith(SUFFIXES) and not name.startswith(".")]
        found += [_encodable(Path(folder, name)) for name in chosen]
    return found


def _encodable(path: Path) -> Path:
    try:
        str(path).encode()
    except UnicodeEncodeError as error:
        raise SongsError(f"{shown(path)}: the file name is not UTF-8, as a manifest requires; rename it") from error
    return path


def _labelled(
    songs: dict[str, Song], table: Table, matched: Sequence[Song], say: Callable[[str], None]
) -> dict[str, Song]:
    """Add a table's columns to the songs; `matched` has the song of each row."""
    path = table.path
    labelled = dict(songs)
    lines: dict[str, int] = {}
    for song, (line, cells) in zip(matched, table.rows, strict=True):
        if song.song_id in lines:
            raise SongsError(
                f"{shown(path)} line {line}: {song.song_id!r} is already on line {lines[song.song_id]}; write one line "
                "per song, with the mean over raters"
            )
        lines[song.song_id] = line
        row = check_row(path, line, _completed(cells, song))
        labelled[song.song_id] = _with(song, row, cells, table.key)
    for note in table.notes:
        say(f"{shown(path)}: {note}")
    named = [name for name in DIMENSIONS if name in table.columns]
    say(f"{shown(path)}: {len(lines)} of {len(songs)} songs; ratings of {', '.join(named) or 'no dimension'}")
    return labelled


def _matched(songs: dict[str, Song], table: Table, root: Path) -> tuple[Table, list[Song]]:
    """The table with its key column decided, and the song of each row."""
    index = SongIndex(songs.values(), root, SUFFIXES)
    table = _by_paths(table, index)
    if table.key != "song_id":
        table = replace(table, notes=(*table.notes, f"column {table.key!r} names the songs"))
    found: list[Song] = []
    unknown: list[tuple[int, str, str]] = []
    for line, cells in table.rows:
        column = next((name for name in (table.key, *table.paths) if cells[name].strip()), table.key)
        possible = _possible_songs(table, line, cells, column, index)
        if len(possible) > 1:
            some = " or ".join(repr(song.song_id) for song in possible[:3])
            raise SongsError(
                f"{shown(table.path)} line {line}: {column} {cells[column]!r} may be {some}; write the full id or path"
            )
        found += possible
        unknown += [] if possible else [(line, column, cells[column])]
    if unknown:
        raise _unknown(table, unknown, index, root)
    return table, found


def _by_paths(table: Table, index: SongIndex) -> Table:
    """The table, keyed by a column of paths if every path is that of one song and no song_id matches exactly.

    A song_id that is only similar to a song's id may be a row number: `1` need not be 001 if the path is 003.wav.
    """
    table_folder = table.path.absolute().parent
    ids = {cells[table.key] for _, cells in table.rows}
    if table.key != "song_id" or any(
        index.has_id(name) or index.with_path(name, table_folder=table_folder) for name in ids
    ):
        return table
    for column in table.paths:
        if table.rows and all(
            len(index.with_path(cells[column], table_folder=table_folder)) == 1 for _, cells in table.rows
        ):
            return replace(
                table,
                key=column,
                paths=tuple(name for name in table.paths if name != column),
                notes=(*table.notes, "no song_id matches a song exactly"),
            )
    return table


def _possible_songs(table: Table, line: int, cells: dict[str, str], column: str, index: SongIndex) -> list[Song]:
    """Songs that a row may mean. Raises SongsError if a path in the row belongs to another song."""
    table_folder = table.path.absolute().parent
    possible = index.find(cells[column], table_folder=table_folder)
    for other in table.paths:
        ids_of_other = (
            {song.song_id for song in index.find(cells[other], table_folder=table_folder)} if possible else set()
        )
        both = [song for song in possible if song.song_id in ids_of_other]
        if ids_of_other and not both:
            raise SongsError(
                f"{shown(table.path)} line {line}: {column} {cells[column]!r} is {possible[0].song_id!r}, but {other} "
                f"{cells[other]!r} is {min(ids_of_other)!r}; correct one, or remove one of the columns"
            )
        possible = both or possible
    return possible


def _unknown(table: Table, unknown: list[tuple[int, str, str]], index: SongIndex, root: Path) -> SongsError:
    line, column, name = unknown[0]
    near = index.suggest(name)
    advice = f"did you mean {printable(near)}?" if near else "correct it or remove the line"
    count = len(unknown) - 1
    more = f" ({count} more line{'s match' if count > 1 else ' matches'} no file)" if count else ""
    return SongsError(
        f"{shown(table.path)} line {line}: {column} {name!r} is not an audio file in {shown(root)}; {advice}{more}"
    )


def _completed(cells: dict[str, str], song: Song) -> dict[str, str]:
    """The cells as in a manifest. A missing split is drawn later."""
    return {**cells, "song_id": song.song_id, "path": str(song.path), "split": cells.get("split") or "train"}


def _with(song: Song, row: ManifestRow, cells: dict[str, str], key: str) -> Song:
    extra = {name: value for name, value in extra_of(cells).items() if name != key}
    return replace(song, split=cells.get("split", ""), system=row.system, labels=row.labels, extra=extra)


def _split(songs: dict[str, Song], *, validation: float, test: float, seed: int) -> list[Song]:
    undecided = sorted(song_id for song_id, song in songs.items() if not song.split)
    drawn = draw_splits(undecided, validation=validation, test=test, seed=seed) if undecided else {}
    return [replace(song, split=song.split or drawn[song_id]) for song_id, song in songs.items()]


def draw_splits(song_ids: Sequence[str], *, validation: float, test: float, seed: int) -> dict[str, str]:
    """Draw the split of each song: val, test or train. A fraction above 0 gets at least one song.

    Raises
    ------
    SongsError
        No song would be left for training, or a fraction is not from 0 to 1.
    """
    if not (0 <= validation <= 1 and 0 <= test <= 1):
        raise SongsError(f"expected fractions from 0 to 1 for val and test, found {validation} and {test}")
    shares = {"val": validation, "test": test}
    counts = {name: max(1, round(share * len(song_ids))) if share else 0 for name, share in shares.items()}
    train = len(song_ids) - sum(counts.values())
    if train < 1:
        raise SongsError(
            f"{len(song_ids)} songs, {counts['val']} of them for val and {counts['test']} for test, leave none for "
            "training; add songs or choose smaller fractions (0 for none)"
        )
    ids = sorted(song_ids)
    # Places are permuted, not ids: a numpy array of strings drops trailing null characters.
    order = [ids[place] for place in np.random.default_rng(seed).permutation(len(ids))]
    splits = ["val"] * counts["val"] + ["test"] * counts["test"] + ["train"] * train
    return dict(zip(order, splits, strict=True))
