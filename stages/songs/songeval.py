"""SongEval as it is downloaded: `metadata.jsonl`, `mp3/`, and the challenge's `val_ids.txt` beside them.

Each line of `metadata.jsonl` has `file_name` and `annotation`, a list with one object a rater that maps dimensions to
numbers, among other keys. A label is the mean over raters. Other texts and numbers of a line are kept as columns.
"""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from statistics import fmean
from typing import Any

from stages.songs.errors import SongsError, shown
from stages.songs.manifest import DIMENSIONS, Song

REPOSITORY = "ASLP-lab/SongEval"
CHALLENGE = "ASLP-lab/Automatic-Song-Aesthetics-Evaluation-Challenge"
SONGS = 2_399
VALIDATION_SHA256 = "a6563457c0189c585689bd47a97137a15a2d278587fdbf5d03935c52d7dec899"


def read_songeval(root: str | Path, *, official: bool = True) -> list[Song]:
    """Read a folder in SongEval's layout.

    Parameters
    ----------
    official
        Whether it must be SongEval itself: all 2,399 songs, and the challenge's list of 200 that validate.

    Raises
    ------
    SongsError
        Something is missing (the message says how to get it), is not SongEval's, or a line cannot be read.
    """
    folder = Path(root)
    rows = list(_read_lines(folder / "metadata.jsonl"))
    validation = _read_validation(folder / "val_ids.txt", official=official)
    songs = [_song(folder, line, row, validation) for line, row in rows]
    _check_ids(folder, songs)
    _check_split(folder, songs, validation)
    if official and len(songs) != SONGS:
        raise SongsError(f"{folder / 'metadata.jsonl'}: expected SongEval's {SONGS} songs, found {len(songs)}")
    _check_files(folder, songs)
    return songs


def download_songeval(root: str | Path) -> None:
    """Fetch the songs and their ratings from the hub (11 GB, CC-BY-NC-SA 4.0); a second call goes on where one ended.

    Raises
    ------
    SongsError
        The challenge's list is not there yet, or the hub cannot be reached or does not give the data set.
    """
    _read_validation(Path(root) / "val_ids.txt", official=True)
    from huggingface_hub import snapshot_download

    try:
        snapshot_download(REPOSITORY, repo_type="dataset", local_dir=root, allow_patterns=["metadata.jsonl", "mp3/*"])
    except OSError as error:
        reason = str(error).strip().split("\n")[0]
        raise SongsError(f"{root}: the data set {REPOSITORY} could not be fetched from the hub: {reason}") from error


def _read_lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else error.reason
        raise SongsError(
            f"{shown(path)}: cannot be read ({reason}); fetch SongEval with: "
            f"hear-data songeval --root {shown(path.parent)} --download"
        ) from error
    for number, text in enumerate(lines, start=1):
        if text.strip():
            yield number, _parse(path, number, text)


def _parse(path: Path, line: int, text: str) -> dict[str, Any]:
    try:
        row = json.loads(text)
    except json.JSONDecodeError as error:
        raise SongsError(f"{shown(path)} line {line}: is not JSON: {error.msg}") from error
    if not isinstance(row, dict) or not isinstance(row.get("file_name"), str):
        raise SongsError(f"{shown(path)} line {line}: expected an object with a text file_name, found {text[:80]!r}")
    raters = row.get("annotation")
    if not isinstance(raters, list) or not raters or not all(isinstance(rater, dict) for rater in raters):
        raise SongsError(f"{shown(path)} line {line}: expected annotation, a list with an object a rater")
    return row


def _read_validation(path: Path, *, official: bool) -> set[str]:
    """Ids of the songs that validate; the list names their files."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise SongsError(
            f"{shown(path)}: cannot be read ({error.strerror}); it is the challenge's list of songs that validate: "
            f"get val_ids.txt from its public repository, {CHALLENGE}, and put it there"
        ) from error
    found = hashlib.sha256(content).hexdigest()
    if official and found != VALIDATION_SHA256:
        raise SongsError(
            f"{shown(path)}: expected the challenge's list, sha256 {VALIDATION_SHA256}, found {found}; "
            f"get val_ids.txt anew from {CHALLENGE}"
        )
    return {Path(line).stem for line in content.decode("utf-8", "replace").split()}


def _song(folder: Path, line: int, row: dict[str, Any], validation: set[str]) -> Song:
    path = (folder / row["file_name"]).absolute()
    labels = {name: _mean(folder, line, row["annotation"], name) for name in DIMENSIONS}
    plain = {key: str(value) for key, value in row.items() if isinstance(value, str | int | float)}
    system = plain.pop("system", "")
    del plain["file_name"]
    return Song(path.stem, path, "val" if path.stem in validation else "train", system, labels, plain)


def _mean(folder: Path, line: int, raters: list[dict[str, Any]], name: str) -> float:
    ratings = [rater[name] for rater in raters if type(rater.get(name)) in (float, int)]
    where = f"{shown(folder / 'metadata.jsonl')} line {line}"
    if not ratings:
        raise SongsError(f"{where}: no rater gives a number for {name}")
    for rating in ratings:
        if not 1 <= rating <= 5:
            raise SongsError(f"{where}: expected a rating from 1 to 5 for {name}, found {rating}")
    return fmean(ratings)


def _check_ids(folder: Path, songs: list[Song]) -> None:
    seen: dict[str, Path] = {}
    for song in songs:
        if song.song_id in seen:
            raise SongsError(
                f"{shown(folder / 'metadata.jsonl')}: {shown(seen[song.song_id])} and {shown(song.path)} give the same "
                f"song id {song.song_id!r}; rename one"
            )
        seen[song.song_id] = song.path


def _check_split(folder: Path, songs: list[Song], validation: set[str]) -> None:
    unknown = sorted(validation - {song.song_id for song in songs})
    where = shown(folder / "val_ids.txt")
    if unknown:
        raise SongsError(f"{where}: {len(unknown)} songs are not in metadata.jsonl, the first is {unknown[0]!r}")
    if not 0 < len(validation) < len(songs):
        raise SongsError(f"{where}: names {len(validation)} of {len(songs)} songs; expected some to validate, not all")


def _check_files(folder: Path, songs: list[Song]) -> None:
    missing = [song.path for song in songs if not song.path.exists()]
    if missing:
        raise SongsError(
            f"{shown(folder)}: {len(missing)} of {len(songs)} audio files are missing, the first is "
            f"{shown(missing[0])}; fetch them with: hear-data songeval --root {shown(folder)} --download"
        )
