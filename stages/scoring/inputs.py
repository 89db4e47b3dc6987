"""What a user names → the songs to score: files, folders, patterns, lists and standard input."""

import glob
import itertools
import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from stages.scoring.errors import ScoringError
from stages.songs import Manifest
from stages.songs.errors import SongsError, shown
from stages.songs.folder import audio_files
from stages.songs.lists import beside, is_list, read_list
from stages.songs.song_ids import common_folder, distinct_ids, first_folder, relative_id
from stages.songs.text_files import read_names
from store import EmbeddingStore

STANDARD_INPUT = "-"
# What `by` takes besides a manifest's columns: the first folder of each song.
FOLDER = "folder"


@dataclass(frozen=True)
class Candidate:
    """A song to score: its id, its file (None for a store's song without one) and its group."""

    song_id: str
    path: Path | None
    group: str = ""

    @property
    def shown_path(self) -> str:
        """The path as text that any encoding can write; empty where there is none."""
        return "" if self.path is None else _text(str(self.path))


def _text(name: str) -> str:
    """A file name as text that can be written: bytes that are not UTF-8 as `\\xff`."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


@dataclass(frozen=True)
class _Found:
    """A file that an input names, and its id; `given`: by a list, which must not be changed."""

    path: Path
    song_id: str
    given: bool = False


def expand_inputs(inputs: Sequence[str], *, lines: Iterable[str] = ()) -> list[Candidate]:
    """List the songs that some inputs name, in order: each file once, or once per id that a list gives it.

    Parameters
    ----------
    inputs
        A file; a folder, for all audio in and below it; a pattern such as `songs/**/*.mp3`, where no file has that
        name; a `.txt` list, one path per line, relative to the list's folder or else to the working directory; Kaldi's
        `wav.scp` or JSON lines (see `read_list`); `-`.
    lines
        Standard input, one path per line.

    Returns
    -------
    list of Candidate
        The id of a file is its stem; of one in a folder that is named, or in that of a pattern, its path below it
        without suffix; in a list that gives ids, that. Where others repeat or are such an id, see `distinct_ids`. Files
        that are missing are listed, too: they become rows with an error.

    Raises
    ------
    ScoringError
        A pattern matches nothing, a list cannot be read, or nothing names a file.
    SongsError
        A folder cannot be listed, or holds no audio; or a list has an error.
    """
    files: dict[tuple[str, str], _Found] = {}
    for found in (found for name in inputs for found in _expand(name, lines)):
        place = os.path.abspath(found.path)  # noqa: PTH100 - resolve() follows links
        files.setdefault((place, found.song_id if found.given else ""), found)
    if inputs and not files:
        raise ScoringError(f"{', '.join(inputs)}: names no file")
    # A file that a list gives ids is listed under these alone, wherever else it is named.
    named = {place for (place, _), found in files.items() if found.given}
    kept = [found for (place, _), found in files.items() if found.given or place not in named]
    free = [found for found in kept if not found.given]
    given = {found.song_id for found in kept if found.given}
    names = iter(distinct_ids([found.song_id for found in free], [found.path for found in free], taken=given))
    return [Candidate(_text(found.song_id if found.given else next(names)), found.path) for found in kept]


def _expand(name: str, lines: Iterable[str]) -> Iterator[_Found]:
    path = Path(name)
    if name == STANDARD_INPUT:
        yield from _listed(lines, Path())
    elif path.suffix.lower() == ".txt" and os.path.isfile(path):  # noqa: PTH113 - as in `_file_or_folder`
        yield from _listed(_read_list(path), path.parent)
    elif is_list(path):
        yield from (_Found(one.path, one.song_id or one.path.stem, bool(one.song_id)) for one in read_list(path))
    elif not os.path.lexists(path) and glob.has_magic(name):
        yield from _matches(name)
    else:
        yield from _file_or_folder(path)


def _matches(pattern: str) -> Iterator[_Found]:
    matches = sorted(glob.glob(pattern, recursive=True))  # noqa: PTH207 - Path.glob takes no absolute pattern
    if not matches:
        raise ScoringError(f"{pattern}: no file has this name or matches this pattern")
    # `**` matches folders and what is in them: the files are enough then.
    files = [Path(match) for match in matches if not Path(match).is_dir()]
    root = Path(*itertools.takewhile(lambda part: not glob.has_magic(part), Path(pattern).parts))
    for path in files or map(Path, matches):
        yield from (_Found(found.path, relative_id(found.path, root)) for found in _file_or_folder(path))


def _file_or_folder(path: Path) -> Iterator[_Found]:
    if not os.path.isdir(path):  # noqa: PTH112 - Path.is_dir raises for names that are too long
        yield _Found(path, path.stem)
        return
    files = audio_files(path)
    if not files:
        raise ScoringError(f"{shown(path)}: has no audio in it or below")
    yield from (_Found(file, relative_id(file, path)) for file in files)


def _listed(lines: Iterable[str], folder: Path) -> Iterator[_Found]:
    for line in lines:
        name = line.rstrip("\r\n")
        if name.strip():
            yield from _file_or_folder(beside(folder, name))


def _read_list(path: Path) -> list[str]:
    try:
        return read_names(path)
    except SongsError as error:
        raise ScoringError(f"{error}; expected a list of paths") from error


def audio_candidates(paths: Sequence[Path]) -> list[Candidate]:
    """Songs of files: their ids are stems; where some repeat, see `distinct_ids`."""
    ids = distinct_ids([path.stem for path in paths], paths)
    return [Candidate(_text(song_id), path) for song_id, path in zip(ids, paths, strict=True)]


def join_manifest(candidates: Sequence[Candidate], manifest: Manifest | None, *, by: str = "") -> list[Candidate]:
    """Give songs their groups and, with a manifest, their ids in it; all of its songs where there are no candidates.

    Parameters
    ----------
    by
        A column of the manifest; or `folder`, which is the first folder of each song's id, unless there is such a
        column. Where no id has a folder, the first one below the files' common folder counts. Empty: no groups.

    Raises
    ------
    ScoringError
        `by` is a column and there is no manifest, or no song is in a folder.
    SongsError
        The manifest has no column `by`.
    """
    if manifest is None:
        return _grouped(candidates, None, by)
    known: dict[str, list[str]] = defaultdict(list)
    for listed in manifest.songs:
        known[_real(listed.path)].append(listed.song_id)
    joined = [song if song.path is None else replace(song, song_id=_id_in(known, song)) for song in candidates]
    return _grouped(joined or [Candidate(song.song_id, song.path) for song in manifest.songs], manifest, by)


def _id_in(known: Mapping[str, Sequence[str]], song: Candidate) -> str:
    """The manifest's id of a song's file; of several, the one that the song has already, else the last."""
    ids = known.get(_real(song.path), ()) if song.path else ()
    return song.song_id if song.song_id in ids or not ids else ids[-1]


def _real(path: Path) -> str:
    """The path without links, or only absolute where no file can have such a name."""
    try:
        return os.path.realpath(path)
    except ValueError:  # a null byte
        return os.path.abspath(path)  # noqa: PTH100 - resolve() fails alike


def store_candidates(
    store: EmbeddingStore, manifest: Manifest | None = None, *, by: str = "", only: Sequence[str] = ()
) -> list[Candidate]:
    """Songs of a store: those of `only` if it names any, else those of the manifest, else all with a clean view.

    Songs that the store lacks are listed, too: they become rows with an error.

    Raises
    ------
    ScoringError
        There is no song; or as `join_manifest`, which says what `by` may be.
    SongsError
        The manifest has no column `by`.
    """
    paths = {song.song_id: song.path for song in manifest.songs} if manifest else {}
    wanted = only or list(paths) or [song for song in store.songs if 0 in store.views(song)]
    if not wanted:
        raise ScoringError(f"{store.root}: has no song to score")
    return _grouped([Candidate(song, paths.get(song)) for song in wanted], manifest, by)


def chosen_split(manifest: Manifest, split: str) -> Manifest:
    """The manifest with the songs of one split; all where `split` is empty. Raises SongsError for an empty split."""
    return replace(manifest, songs=manifest.split(split)) if split else manifest


def _grouped(candidates: Sequence[Candidate], manifest: Manifest | None, by: str) -> list[Candidate]:
    if by == FOLDER and (manifest is None or by not in manifest.columns()):
        groups = _folders(candidates)
    else:
        column = _column(manifest, by)
        groups = [column.get(song.song_id, "") for song in candidates]
    return [replace(song, group=group) for song, group in zip(candidates, groups, strict=True)]


def _column(manifest: Manifest | None, by: str) -> Mapping[str, str]:
    if not by:
        return {}
    if manifest is None:
        raise ScoringError(f"grouping by {by!r} needs a manifest that has this column")
    return manifest.column(by)


def _folders(candidates: Sequence[Candidate]) -> list[str]:
    folders = [first_folder(song.song_id) for song in candidates]
    paths = [song.path for song in candidates if song.path is not None]
    if paths and not any(folders) and len(paths) == len(candidates):
        root = common_folder(paths)
        folders = [_text(first_folder(relative_id(path, root))) for path in paths]
    if candidates and not any(folders):
        raise ScoringError(f"grouping by {FOLDER!r}: all songs are in one folder; name the folder above it")
    return folders


def shown_names(candidates: Sequence[Candidate]) -> list[str]:
    """What to call songs where they stand together: by id, or by path where several have one id."""
    count = Counter(song.song_id for song in candidates)
    return [song.shown_path or song.song_id if count[song.song_id] > 1 else song.song_id for song in candidates]
