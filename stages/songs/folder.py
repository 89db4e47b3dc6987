"""Any folder of audio: each file is a song, with labels from a CSV file where there is one, and a seeded split."""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from stages.songs.errors import SongsError, shown
from stages.songs.manifest import Song
from stages.songs.rows import Row, check_row, extra_of, read_rows

# What FFmpeg reads here; a song of another kind can be listed in a manifest written by hand.
SUFFIXES = (
    *(".wav", ".flac", ".mp3", ".ogg", ".oga", ".opus", ".aif", ".aiff", ".aifc", ".au", ".caf", ".w64", ".rf64"),
    *(".m4a", ".m4b", ".mp4", ".aac", ".wma", ".webm", ".mka", ".ape", ".wv"),
)


def read_folder(
    audio: str | Path,
    *,
    labels: str | Path | None = None,
    validation: float = 0.1,
    test: float = 0.0,
    seed: int = 0,
) -> list[Song]:
    """List a folder and all below it.

    Parameters
    ----------
    audio
        The folder. Files with the suffixes of audio are songs, but hidden ones are not; the song id is the file's
        whole stem.
    labels
        A CSV file with `song_id` or `path` (relative to `audio`), and columns as in a manifest: `split` and `system`
        where they are given, the dimensions, and any other.
    validation, test
        Shares of the songs without a split of their own, drawn with `seed`; the rest trains.

    Raises
    ------
    SongsError
        There is no audio; two files have one stem; a line of the labels names no song, or has an error; a share that
        is asked for gets no song, or none is left to train.
    """
    root = Path(audio).absolute()
    songs = _list_songs(root)
    if labels is not None:
        songs = _labelled(songs, Path(labels), root)
    return _split(songs, validation=validation, test=test, seed=seed)


def _list_songs(root: Path) -> dict[str, Song]:
    if not root.is_dir():
        raise SongsError(f"{shown(root)}: is no folder; expected one with audio files")
    songs: dict[str, Song] = {}
    for path in audio_files(root):
        other = songs.get(path.stem)
        if other is not None:
            raise SongsError(
                f"{shown(other.path)} and {shown(path)} give the same song id {path.stem!r}; rename one of the files"
            )
        songs[path.stem] = Song(path.stem, path, "")
    if not songs:
        raise SongsError(f"{shown(root)}: has no audio; looked for {' '.join(SUFFIXES)} in it and below")
    return songs


def audio_files(root: Path) -> list[Path]:
    """Files of a folder and all below it that have a suffix of audio, without hidden ones, in order of their names.

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
        raise SongsError(f"{shown(path)}: its name is not UTF-8, which a manifest is; rename it") from error
    return path


def _labelled(songs: dict[str, Song], labels: Path, root: Path) -> dict[str, Song]:
    labelled = dict(songs)
    lines: dict[str, int] = {}
    for line, cells in read_rows(labels):
        song = _song_of(songs, labels, line, cells, root)
        if song.song_id in lines:
            raise SongsError(f"{labels} line {line}: {song.song_id!r} is on line {lines[song.song_id]} already")
        lines[song.song_id] = line
        row = check_row(labels, line, _completed(cells, song))
        labelled[song.song_id] = _with(song, row, cells)
    return labelled


def _song_of(songs: dict[str, Song], labels: Path, line: int, cells: dict[str, str], root: Path) -> Song:
    if "song_id" in cells:
        song = songs.get(cells["song_id"])
        named = f"song_id {cells['song_id']!r}"
    elif "path" in cells:
        path = Path(os.path.abspath(root / cells["path"]))  # noqa: PTH100 - resolve() would follow links
        song = next((song for song in [songs.get(path.stem)] if song and song.path == path), None)
        named = f"path {cells['path']!r}"
    else:
        raise SongsError(f"{labels} line 1: expected a column song_id or path; found {', '.join(cells)}")
    if song is None:
        raise SongsError(f"{labels} line {line}: {named} is no audio file below {shown(root)}; remove the line")
    return song


def _completed(cells: dict[str, str], song: Song) -> dict[str, str]:
    """The cells as a manifest would have them; a split that is not given is drawn later."""
    return {**cells, "song_id": song.song_id, "path": str(song.path), "split": cells.get("split") or "train"}


def _with(song: Song, row: Row, cells: dict[str, str]) -> Song:
    return replace(song, split=cells.get("split", ""), system=row.system, labels=row.labels, extra=extra_of(cells))


def _split(songs: dict[str, Song], *, validation: float, test: float, seed: int) -> list[Song]:
    undecided = sorted(song_id for song_id, song in songs.items() if not song.split)
    drawn = draw_splits(undecided, validation=validation, test=test, seed=seed) if undecided else {}
    return [replace(song, split=song.split or drawn[song_id]) for song_id, song in songs.items()]


def draw_splits(song_ids: Sequence[str], *, validation: float, test: float, seed: int) -> dict[str, str]:
    """Deal songs out to val, test and train; a share above 0 gets one song at least.

    Raises
    ------
    SongsError
        No song would be left to train, or a share is not within 0 to 1.
    """
    if not (0 <= validation <= 1 and 0 <= test <= 1):
        raise SongsError(f"expected shares from 0 to 1 for val and test, found {validation} and {test}")
    shares = {"val": validation, "test": test}
    counts = {name: max(1, round(share * len(song_ids))) if share else 0 for name, share in shares.items()}
    train = len(song_ids) - sum(counts.values())
    if train < 1:
        raise SongsError(
            f"{len(song_ids)} songs, {counts['val']} of them for val and {counts['test']} for test, leave none to "
            "train; add songs or make the shares smaller (0 is none)"
        )
    order = np.random.default_rng(seed).permutation(sorted(song_ids))
    splits = ["val"] * counts["val"] + ["test"] * counts["test"] + ["train"] * train
    return dict(zip(order.tolist(), splits, strict=True))
