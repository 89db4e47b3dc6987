"""What a user names → the songs to score: files, folders, patterns, lists and standard input."""

import glob
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from stages.scoring.errors import ScoringError
from stages.songs import Manifest
from stages.songs.errors import shown
from stages.songs.folder import audio_files
from store import EmbeddingStore

STANDARD_INPUT = "-"


@dataclass(frozen=True)
class Candidate:
    """A song to score: its id (a file's whole stem), its file (None for a store's song without one) and its group."""

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


def expand_inputs(inputs: Sequence[str], *, lines: Iterable[str] = ()) -> list[Path]:
    """List the files that some inputs name, each once, in order.

    Parameters
    ----------
    inputs
        A file; a folder, for all audio in and below it; a pattern such as `songs/**/*.mp3`, where no file has that
        name; a `.txt` list, one path a line, relative to the list's folder or else to the working directory; `-`.
    lines
        Standard input, one path a line.

    Returns
    -------
    list of Path
        Files that are missing are listed, too: they become rows with an error.

    Raises
    ------
    ScoringError
        A pattern matches nothing, a list cannot be read, or nothing names a file.
    SongsError
        A folder cannot be listed, or holds no audio.
    """
    found = (path for name in inputs for path in _expand(name, lines))
    files = list({os.path.abspath(path): path for path in found}.values())  # noqa: PTH100 - resolve() follows links
    if inputs and not files:
        raise ScoringError(f"{', '.join(inputs)}: names no file")
    return files


def _expand(name: str, lines: Iterable[str]) -> Iterator[Path]:
    path = Path(name)
    if name == STANDARD_INPUT:
        yield from _listed(lines, Path())
    elif path.suffix.lower() == ".txt" and path.is_file():
        yield from _listed(_read_list(path), path.parent)
    elif not os.path.lexists(path) and glob.has_magic(name):
        yield from _matches(name)
    else:
        yield from _file_or_folder(path)


def _matches(pattern: str) -> Iterator[Path]:
    matches = sorted(glob.glob(pattern, recursive=True))  # noqa: PTH207 - Path.glob takes no absolute pattern
    if not matches:
        raise ScoringError(f"{pattern}: no file has this name or matches this pattern")
    # `**` matches folders and what is in them: the files are enough then.
    files = [Path(match) for match in matches if not Path(match).is_dir()]
    for path in files or map(Path, matches):
        yield from _file_or_folder(path)


def _file_or_folder(path: Path) -> Iterator[Path]:
    if not path.is_dir():
        yield path
        return
    files = audio_files(path)
    if not files:
        raise ScoringError(f"{shown(path)}: has no audio in it or below")
    yield from files


def _listed(lines: Iterable[str], folder: Path) -> Iterator[Path]:
    for line in lines:
        name = line.rstrip("\r\n")
        if name.strip():
            beside = folder / name
            yield from _file_or_folder(beside if beside.exists() or not Path(name).exists() else Path(name))


def _read_list(path: Path) -> list[str]:
    try:
        # File names are bytes: those that are not UTF-8 survive the way back to the file system.
        return path.read_text(encoding="utf-8-sig", errors="surrogateescape").split("\n")
    except OSError as error:
        raise ScoringError(f"{shown(path)}: cannot be read as a list of paths: {error.strerror}") from error


def audio_candidates(paths: Sequence[Path], manifest: Manifest | None = None, *, by: str = "") -> list[Candidate]:
    """Songs of files; with a manifest, their ids and groups from it, and all of its songs where no file is named.

    Raises
    ------
    ScoringError
        `by` is given without a manifest.
    SongsError
        The manifest has no column `by`.
    """
    groups = _column(manifest, by)
    if manifest is None:
        return [Candidate(_text(path.stem), path) for path in paths]
    if not paths:
        return [Candidate(song.song_id, song.path, groups.get(song.song_id, "")) for song in manifest.songs]
    known = {os.path.realpath(song.path): song.song_id for song in manifest.songs}
    ids = [known.get(os.path.realpath(path), _text(path.stem)) for path in paths]
    return [Candidate(song_id, path, groups.get(song_id, "")) for song_id, path in zip(ids, paths, strict=True)]


def store_candidates(
    store: EmbeddingStore, manifest: Manifest | None = None, *, by: str = "", only: Sequence[str] = ()
) -> list[Candidate]:
    """Songs of a store: those of `only` if it names any, else those of the manifest, else all with a clean view.

    Songs that the store lacks are listed, too: they become rows with an error.

    Raises
    ------
    ScoringError
        `by` is given without a manifest, or there is no song.
    SongsError
        The manifest has no column `by`.
    """
    groups = _column(manifest, by)
    paths = {song.song_id: song.path for song in manifest.songs} if manifest else {}
    wanted = only or list(paths) or [song for song in store.songs if 0 in store.views(song)]
    if not wanted:
        raise ScoringError(f"{store.root}: has no song to score")
    return [Candidate(song, paths.get(song), groups.get(song, "")) for song in wanted]


def chosen_split(manifest: Manifest, split: str) -> Manifest:
    """The manifest with the songs of one split; all where `split` is empty. Raises SongsError for an empty split."""
    return replace(manifest, songs=manifest.split(split)) if split else manifest


def _column(manifest: Manifest | None, by: str) -> Mapping[str, str]:
    if not by:
        return {}
    if manifest is None:
        raise ScoringError(f"grouping by {by!r} needs a manifest that has this column")
    return manifest.column(by)
