"""SongEval as downloaded: `metadata.jsonl`, `mp3/` and the challenge's `val_ids.txt`.

Each line of `metadata.jsonl` has `file_name` and `annotation`, a list with one object per rater. An object maps
dimensions to numbers, which may be written as text, and may have other keys. A song's rating is the mean over raters.
Other strings and numbers of a line are kept as columns.
"""

import hashlib
import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from statistics import fmean
from typing import Any

from stages.songs.errors import SongsError, shown
from stages.songs.manifest import DIMENSIONS, Song
from stages.songs.manifest_file import KNOWN
from stages.songs.text_files import read_json_lines
from store.files.json_text import LARGEST
from store.files.regular import IrregularFileError, read_regular
from store.files.replacing import replacing

REPOSITORY = "ASLP-lab/SongEval"
CHALLENGE = "ASLP-lab/Automatic-Song-Aesthetics-Evaluation-Challenge"
# The challenge's validation list; the environment variable may name a mirror.
VALIDATION_URL = f"https://raw.githubusercontent.com/{CHALLENGE}/main/static/val_ids.txt"
VALIDATION_URL_VARIABLE = "HEAR_VAL_IDS_URL"
VALIDATION_LIST = "val_ids.txt"
SONGS = 2_399
VALIDATION_SHA256 = "a6563457c0189c585689bd47a97137a15a2d278587fdbf5d03935c52d7dec899"

# Rater → dimension → rating.
RaterRatings = Mapping[str, Mapping[str, float]]


def read_songeval(root: str | Path, *, official: bool = True) -> list[Song]:
    """Read a folder in SongEval's layout.

    Parameters
    ----------
    official
        Whether it must be SongEval itself: all 2,399 songs, and the challenge's list of 200 validation songs.

    Raises
    ------
    SongsError
        A file is missing (the message says how to get it) or is not SongEval's, or a line cannot be read.
    """
    folder = Path(root)
    rows = list(_read_lines(folder / "metadata.jsonl"))
    validation = _read_validation(folder / VALIDATION_LIST, official=official)
    songs = [_song(folder, line, row, validation) for line, row in rows]
    _check_ids(folder, songs)
    _check_split(folder, songs, validation)
    if official and len(songs) != SONGS:
        raise SongsError(f"{folder / 'metadata.jsonl'}: expected SongEval's {SONGS} songs, found {len(songs)}")
    _check_files(folder, songs)
    return songs


def read_raters(path: str | Path) -> dict[str, RaterRatings]:
    """Read the ratings of each rater from SongEval's `metadata.jsonl`.

    Returns
    -------
    dict
        By song id, by rater, by dimension. A rater is the value of `annotator`, or the position in the list where a
        song's raters do not all have different names. Missing ratings have no entry.

    Raises
    ------
    SongsError
        The file or a line cannot be read, or a rating is not a number from 1 to 5.
    """
    path = Path(path)
    found: dict[str, RaterRatings] = {}
    for line, row in _read_lines(path):
        where = f"{shown(path)} line {line}"
        names = [str(rater.get("annotator", "")) for rater in row["annotation"]]
        if "" in names or len(set(names)) < len(names):
            names = [f"rater {number}" for number in range(1, len(names) + 1)]
        found[Path(row["file_name"]).stem] = {
            name: {each: _rating(rater[each], each, where) for each in DIMENSIONS if rater.get(each) not in (None, "")}
            for name, rater in zip(names, row["annotation"], strict=True)
        }
    return found


def download_songeval(root: str | Path) -> None:
    """Download the challenge's list and, from the hub, the songs and ratings (11 GB, CC-BY-NC-SA 4.0).

    A second call resumes. `HEAR_VAL_IDS_URL` sets another URL for the list, `HF_ENDPOINT` another hub.

    Raises
    ------
    SongsError
        The existing or downloaded list is not the challenge's, or it cannot be written.
    HubError
        The list cannot be downloaded, the hub cannot be reached or refuses the data set.
    """
    from stages.common.hub import download_dataset

    folder = Path(root)
    # The list first, because the 11 GB are useless without it.
    _fetch_validation(folder / VALIDATION_LIST)
    download_dataset(REPOSITORY, folder, patterns=["metadata.jsonl", "mp3/*"])


def _fetch_validation(path: Path) -> None:
    if path.exists():
        _read_validation(path, official=True)
        return
    from stages.common.hub import fetch_small

    url = os.environ.get(VALIDATION_URL_VARIABLE) or VALIDATION_URL
    content = fetch_small(url, advice=f"get {VALIDATION_LIST} from {CHALLENGE} otherwise and save it as {shown(path)}")
    _check_validation(content, url)
    with replacing(path, error=SongsError) as place:
        place.write_bytes(content)


def _read_lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    advice = f"download SongEval with: hear-data songeval --root {shown(path.parent)} --download"
    for line, row in read_json_lines(path, advice=advice):
        if not isinstance(row.get("file_name"), str):
            found = str(row)[:80]
            raise SongsError(f"{shown(path)} line {line}: expected an object with a string file_name, found {found!r}")
        raters = row.get("annotation")
        if not isinstance(raters, list) or not raters or not all(isinstance(rater, dict) for rater in raters):
            raise SongsError(f"{shown(path)} line {line}: expected annotation, a list with one object per rater")
        yield line, row


def _read_validation(path: Path, *, official: bool) -> set[str]:
    """Ids of the validation songs; the list has their file names."""
    try:
        content = read_regular(path, largest=LARGEST)
    except (OSError, IrregularFileError) as error:
        reason = getattr(error, "strerror", None) or str(error).removeprefix(f"{path}: ")
        raise SongsError(
            f"{shown(path)}: cannot be read ({reason}); it is the challenge's list of validation songs: "
            f"download it with --download, or from the public repository {CHALLENGE}"
        ) from error
    if official:
        _check_validation(content, shown(path), "; remove it, and run again with --download")
    return {Path(line).stem for line in content.decode("utf-8", "replace").split()}


def _check_validation(content: bytes, where: str, advice: str = "") -> None:
    found = hashlib.sha256(content).hexdigest()
    if found != VALIDATION_SHA256:
        raise SongsError(f"{where}: expected the challenge's list, sha256 {VALIDATION_SHA256}, found {found}{advice}")


def _song(folder: Path, line: int, row: dict[str, Any], validation: set[str]) -> Song:
    path = (folder / row["file_name"]).absolute()
    labels = {name: _mean(folder, line, row["annotation"], name) for name in DIMENSIONS}
    plain = {key: str(value) for key, value in row.items() if isinstance(value, str | int | float)}
    system = plain.pop("system", "")
    plain = {key: text for key, text in plain.items() if key not in (*KNOWN, *DIMENSIONS, "file_name")}
    return Song(path.stem, path, "val" if path.stem in validation else "train", system, labels, plain)


def _mean(folder: Path, line: int, raters: list[dict[str, Any]], name: str) -> float:
    where = f"{shown(folder / 'metadata.jsonl')} line {line}"
    ratings = [_rating(rater[name], name, where) for rater in raters if rater.get(name) not in (None, "")]
    if not ratings:
        raise SongsError(f"{where}: no rater gives a number for {name}")
    return fmean(ratings)


def _rating(value: object, name: str, where: str) -> float:
    """A rating as a number; it may be written as text."""
    try:
        rating = math.nan if isinstance(value, bool) else float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        rating = math.nan
    if not 1 <= rating <= 5:
        raise SongsError(f"{where}: expected a rating from 1 to 5 for {name}, found {value!r}; correct the line")
    return rating


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
    where = shown(folder / VALIDATION_LIST)
    if unknown:
        raise SongsError(f"{where}: {len(unknown)} songs are not in metadata.jsonl, the first is {unknown[0]!r}")
    if not 0 < len(validation) < len(songs):
        raise SongsError(f"{where}: names {len(validation)} of {len(songs)} songs; expected some of them, not all")


def _check_files(folder: Path, songs: list[Song]) -> None:
    missing = [song.path for song in songs if not os.path.isfile(song.path)]  # noqa: PTH113 - Path's raises for long names
    if missing:
        raise SongsError(
            f"{shown(folder)}: {len(missing)} of {len(songs)} audio files are missing, the first is "
            f"{shown(missing[0])}; download them with: hear-data songeval --root {shown(folder)} --download"
        )
