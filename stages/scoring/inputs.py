"""A user's inputs → the songs to score: files, folders, patterns, lists, standard input, or a store."""

import glob
import itertools
import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from stages.scoring.clips import Clip, take_clip
from stages.scoring.deadline import Deadline
from stages.scoring.errors import ScoringError
from stages.songs import Manifest
from stages.songs.errors import SongsError, shown
from stages.songs.folder import audio_files
from stages.songs.lists import is_list, listed_path, read_list
from stages.songs.song_ids import common_folder, distinct_ids, first_folder, relative_id
from stages.songs.text_files import read_names
from store import EmbeddingStore

STANDARD_INPUT = "-"
# Accepted by `by` besides a manifest's columns: the first folder of each song.
FOLDER = "folder"


@dataclass(frozen=True)
class InputSong:
    """A song to score: its id, its file (None without one), its group, and its audio if that is in memory."""

    song_id: str
    path: Path | None
    group: str = ""
    clip: Clip | None = field(default=None, compare=False)

    @property
    def shown_path(self) -> str:
        """The path as text that any encoding can write; empty if there is none."""
        return "" if self.path is None else shown_text(str(self.path))


def shown_text(name: str) -> str:
    """A file name as text that can be written: bytes that are not UTF-8 as `\\xff`."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


@dataclass(frozen=True)
class _NamedFile:
    """A file from an input, and its id; `fixed`: the id is from a list and must not change."""

    path: Path
    song_id: str
    fixed: bool = False


def expand_inputs(inputs: Sequence[str], *, lines: Iterable[str] = ()) -> list[InputSong]:
    """List the songs of the inputs, in order: each file once, or once per id in a list.

    Parameters
    ----------
    inputs
        A file; a folder, for all audio in and below it; a pattern such as `songs/**/*.mp3`, unless a file has that
        name; a `.txt` list, one path per line, relative to the list's folder or else to the working directory; Kaldi's
        `wav.scp` or JSON lines (see `read_list`); `-`.
    lines
        Standard input, one path per line.

    Returns
    -------
    list of InputSong
        The id of a file is its stem. Below a named folder, or the fixed part of a pattern, it is the path from there
        without the suffix. Lists may give ids. Ids that repeat, or equal an id from a list, get more of their paths;
        see `distinct_ids`. Missing files are listed, too: they become rows with an error.

    Raises
    ------
    ScoringError
        A pattern matches nothing, a list cannot be read, or the inputs name no file.
    SongsError
        A folder cannot be listed, or a list has an error.
    """
    files: dict[tuple[str, str], _NamedFile] = {}
    for file in (file for name in inputs for file in _expand(name, lines)):
        place = os.path.abspath(file.path)  # noqa: PTH100 - resolve() follows links
        files.setdefault((place, file.song_id if file.fixed else ""), file)
    if inputs and not files:
        raise ScoringError(f"{', '.join(inputs)}: expected paths of songs, found none")
    # A file with ids from a list appears only under these, even if other inputs name it, too.
    listed = {place for (place, _), file in files.items() if file.fixed}
    kept = [file for (place, _), file in files.items() if file.fixed or place not in listed]
    free = [file for file in kept if not file.fixed]
    fixed = {file.song_id for file in kept if file.fixed}
    names = iter(distinct_ids([file.song_id for file in free], [file.path for file in free], taken=fixed))
    return [InputSong(shown_text(file.song_id if file.fixed else next(names)), file.path) for file in kept]


def _expand(name: str, lines: Iterable[str]) -> Iterator[_NamedFile]:
    path = Path(name)
    if name == STANDARD_INPUT:
        yield from _listed(lines, Path())
    elif path.suffix.lower() == ".txt" and os.path.isfile(path):  # noqa: PTH113 - as in `_file_or_folder`
        yield from _listed(_read_list(path), path.parent)
    elif is_list(path):
        yield from (_NamedFile(one.path, one.song_id or one.path.stem, bool(one.song_id)) for one in read_list(path))
    elif not os.path.lexists(path) and glob.has_magic(name):
        yield from _matches(name)
    else:
        yield from _file_or_folder(path)


def _matches(pattern: str) -> Iterator[_NamedFile]:
    matches = sorted(glob.glob(pattern, recursive=True))  # noqa: PTH207 - Path.glob takes no absolute pattern
    if not matches:
        raise ScoringError(f"{pattern}: no file has this name or matches this pattern")
    # `**` matches folders and the files in them: the files are enough then.
    files = [Path(match) for match in matches if not Path(match).is_dir()]
    root = Path(*itertools.takewhile(lambda part: not glob.has_magic(part), Path(pattern).parts))
    for path in files or map(Path, matches):
        yield from (_NamedFile(file.path, relative_id(file.path, root)) for file in _file_or_folder(path))


def _file_or_folder(path: Path) -> Iterator[_NamedFile]:
    if not os.path.isdir(path):  # noqa: PTH112 - Path.is_dir raises for names that are too long
        yield _NamedFile(path, path.stem)
        return
    files = audio_files(path)
    if not files:
        raise ScoringError(f"{shown(path)}: contains no audio files; name another folder")
    yield from (_NamedFile(file, relative_id(file, path)) for file in files)


def _listed(lines: Iterable[str], folder: Path) -> Iterator[_NamedFile]:
    for line in lines:
        name = line.rstrip("\r\n")
        if name.strip():
            yield from _file_or_folder(listed_path(folder, name))


def _read_list(path: Path) -> list[str]:
    try:
        return read_names(path)
    except SongsError as error:
        raise ScoringError(f"{error}; expected a list of paths") from error


def audio_song(
    audio: Any, sample_rate: Any = None, *, name: str = "", number: int = 1, deadline: Deadline | None = None
) -> InputSong:
    """A song of a path, or of audio in memory; see `Audio`. Its id is the name, or else the path's stem or `clip-1`.

    Raises
    ------
    TooLateError
        The deadline passed while a binary file was copied.
    """
    if isinstance(audio, str | os.PathLike):
        path = Path(audio)
        return InputSong(name or shown_text(path.stem), path)
    return InputSong(name or f"clip-{number}", None, clip=take_clip(audio, sample_rate, deadline=deadline))


def audio_songs(songs: Iterable[Any], sample_rate: Any, names: Iterable[str] | None) -> Iterator[InputSong]:
    """Take songs, or pairs of an array and its rate, one by one; see `audio_song`.

    Raises
    ------
    ScoringError
        There are fewer or more names than songs.
    """
    named = None if names is None else iter(names)
    for number, song in enumerate(songs, start=1):
        audio, rate = song if isinstance(song, tuple) and len(song) == 2 else (song, sample_rate)
        name = "" if named is None else next(named, None)
        if name is None:
            raise ScoringError(f"names: expected one per song, found {number - 1} for more songs")
        yield audio_song(audio, rate, name=name, number=number)
    if named is not None and next(named, None) is not None:
        raise ScoringError("names: expected one per song, found more names than songs")


def store_songs(
    store: EmbeddingStore, manifest: Manifest | None = None, *, by: str = "", only: Sequence[str] = ()
) -> list[InputSong]:
    """Songs of a store: those of `only` if given, else those of the manifest, else all with a clean view.

    Songs that the store lacks are listed, too: they become rows with an error.

    Raises
    ------
    ScoringError
        There is no song; or as `join_manifest`, which describes `by`.
    SongsError
        The manifest has no column `by`.
    """
    paths = {song.song_id: song.path for song in manifest.songs} if manifest else {}
    wanted = only or list(paths) or [song for song in store.songs if 0 in store.views(song)]
    if not wanted:
        raise ScoringError(f"{store.root}: contains no song to score; run hear-extract first")
    return _grouped([InputSong(song, paths.get(song)) for song in wanted], manifest, by)


def chosen_split(manifest: Manifest, split: str) -> Manifest:
    """The manifest with the songs of one split; all where `split` is empty. Raises SongsError for an empty split."""
    return replace(manifest, songs=manifest.split(split)) if split else manifest


def join_manifest(songs: Sequence[InputSong], manifest: Manifest | None, *, by: str = "") -> list[InputSong]:
    """Give songs their groups and their ids in the manifest, if there is one; without songs, take all of its songs.

    Parameters
    ----------
    by
        A column of the manifest; or `folder`, the first folder of each song's id, unless the manifest has such a
        column. If no id has a folder, the first one below the files' common folder counts. Empty: no groups.

    Raises
    ------
    ScoringError
        `by` is a column and there is no manifest, or all songs are in the same folder.
    SongsError
        The manifest has no column `by`.
    """
    if manifest is None:
        return _grouped(songs, None, by)
    known: dict[str, list[str]] = defaultdict(list)
    for listed in manifest.songs:
        known[_real(listed.path)].append(listed.song_id)
    joined = [song if song.path is None else replace(song, song_id=_id_in(known, song)) for song in songs]
    return _grouped(joined or [InputSong(song.song_id, song.path) for song in manifest.songs], manifest, by)


def _id_in(known: Mapping[str, Sequence[str]], song: InputSong) -> str:
    """The manifest's id of a song's file; if it has several, the song's own id if that is one, else the last."""
    ids = known.get(_real(song.path), ()) if song.path else ()
    return song.song_id if song.song_id in ids or not ids else ids[-1]


def _real(path: Path) -> str:
    """The path with links resolved; only made absolute if no file can have such a name."""
    try:
        return os.path.realpath(path)
    except ValueError:  # a null byte
        return os.path.abspath(path)  # noqa: PTH100 - resolve() fails, too


def _grouped(songs: Sequence[InputSong], manifest: Manifest | None, by: str) -> list[InputSong]:
    if by == FOLDER and (manifest is None or by not in manifest.columns()):
        groups = _folders(songs)
    else:
        column = _column(manifest, by)
        groups = [column.get(song.song_id, "") for song in songs]
    return [replace(song, group=group) for song, group in zip(songs, groups, strict=True)]


def _column(manifest: Manifest | None, by: str) -> Mapping[str, str]:
    if not by:
        return {}
    if manifest is None:
        raise ScoringError(f"grouping by {by!r} needs a manifest that has this column; name one with --manifest")
    return manifest.column(by)


def _folders(songs: Sequence[InputSong]) -> list[str]:
    folders = [first_folder(song.song_id) for song in songs]
    paths = [song.path for song in songs if song.path is not None]
    if paths and not any(folders) and len(paths) == len(songs):
        root = common_folder(paths)
        folders = [shown_text(first_folder(relative_id(path, root))) for path in paths]
    if songs and not any(folders):
        raise ScoringError(f"grouping by {FOLDER!r}: all songs are in one folder; name the folder above it")
    return folders


def shown_names(songs: Sequence[InputSong]) -> list[str]:
    """Names of songs that are shown together: the id, or the path where several songs have the same id."""
    count = Counter(song.song_id for song in songs)
    return [song.shown_path or song.song_id if count[song.song_id] > 1 else song.song_id for song in songs]
