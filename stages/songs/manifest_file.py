"""`manifest.csv` on disk: reading it with every check, and writing what reads back."""

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from stages.common.csv_text import write_rows
from stages.songs.errors import SongsError, shown
from stages.songs.manifest import DIMENSIONS, Manifest, Song
from stages.songs.rows import KNOWN, REQUIRED, check_row, extra_of, read_rows


def read_manifest(path: str | Path, *, check_files: bool = True) -> Manifest:
    """Read a manifest: the songs with their splits and ratings.

    Parameters
    ----------
    path
        The CSV file, UTF-8.
    check_files
        Whether each audio file must exist. Extraction turns this off: there, a missing file is that song's failure.

    Returns
    -------
    Manifest
        The songs, in the file's order.

    Raises
    ------
    SongsError
        The file is missing, empty or not CSV; a column is missing or named twice; an id is empty or used twice; a split
        is not train, val or test; a label is not a number from 1 to 5; an audio file is missing. Names the line.

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
    for line, cells in read_rows(where, required=REQUIRED):
        song = _song(where, line, cells)
        if song.song_id in songs:
            first = lines[song.song_id]
            raise SongsError(
                f"{where} line {line}: song_id {song.song_id!r} is on line {first} already; ids are unique"
            )
        if check_files and not os.path.isfile(song.path):  # noqa: PTH113 - Path.is_file raises where a folder is closed
            raise SongsError(f"{where} line {line}: {shown(song.path)} is no file; mend the path or remove the line")
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
    """Write a manifest, with paths relative to it; it appears whole or not at all.

    Raises
    ------
    SongsError
        What would be written has an error that `read_manifest` names, such as an id used twice, or cannot be written.
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
        raise SongsError(f"{where}: cannot be written: {error.strerror}; name another place") from error
    except UnicodeEncodeError as error:
        text = error.object[max(0, error.start - 20) : error.end + 20]
        raise SongsError(f"{where}: cannot be written: {text!r} is not text that UTF-8 has; correct it") from error
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
        write_rows(file, rows)
