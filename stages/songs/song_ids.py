"""Song ids: made from file paths, and matched with names in tables."""

import difflib
import os
import re
import unicodedata
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

from stages.songs.manifest import Song

Parts = tuple[str, ...]


def relative_id(path: Path, root: Path) -> str:
    """`modelA/001` for `root/modelA/001.wav`; the file's stem if it is outside `root`."""
    place = Path(os.path.relpath(path, root))
    return path.stem if ".." in place.parts else place.with_suffix("").as_posix()


def common_folder(paths: Sequence[Path]) -> Path:
    """The deepest common folder of all files, absolute."""
    return Path(os.path.commonpath([os.path.abspath(path.parent) for path in paths]))  # noqa: PTH100 - keeps links


def distinct_ids(ids: Sequence[str], paths: Sequence[Path], *, taken: Collection[str] = ()) -> list[str]:
    """The files' ids; if some repeat, paths below the common folder instead, if these are more distinct.

    `001` of `modelA/001.wav` and `modelB/001.wav` becomes `modelA/001` and `modelB/001`. If an id is `taken` by
    another song, all ids become paths below a folder further up, until none is taken.
    """
    other = set(taken)
    if len(set(ids)) == len(ids) and other.isdisjoint(ids):
        return list(ids)
    root = common_folder(paths)
    relative = [relative_id(path, root) for path in paths]
    chosen = relative if len(set(relative)) > len(set(ids)) else list(ids)
    for folder in (root, *root.parents):
        if other.isdisjoint(chosen):
            break
        chosen = [relative_id(path, folder) for path in paths]
    return chosen


def first_folder(song_id: str) -> str:
    """`modelA` for `modelA/001`; empty for an id without a folder."""
    return song_id.partition("/")[0] if "/" in song_id else ""


class SongIndex:
    """Finds songs by names in tables, which may be incomplete.

    Parameters
    ----------
    songs
        Songs with unique ids.
    root
        The base folder of the ids.
    suffixes
        Suffixes of audio files in lower case; an id may be written with one.
    """

    def __init__(self, songs: Iterable[Song], root: Path, suffixes: tuple[str, ...]) -> None:
        self.root, self.suffixes = root, suffixes
        self._ids: dict[str, Song] = {}
        self._paths: dict[str, list[Song]] = defaultdict(list)
        # Songs whose id in a list differs from their file name.
        self._by_file: dict[str, list[Song]] = defaultdict(list)
        self._by_end: dict[str, list[tuple[Parts, Song]]] = defaultdict(list)
        for song in songs:
            self._ids[song.song_id] = song
            self._paths[_absolute(song.path)].append(song)
            parts = self._parts(song.song_id, stem=True)
            if parts[-1] != unicodedata.normalize("NFC", song.path.stem):
                self._by_file[unicodedata.normalize("NFC", song.path.name)].append(song)
            self._by_end[_without_zeros(parts[-1])].append(((unicodedata.normalize("NFC", root.name), *parts), song))

    def find(self, name: str, *, table_folder: Path) -> list[Song]:
        """Songs that a name may mean: one, none or several.

        A name means the song with that id or path (relative to the songs' or the table's folder); or else the song
        whose id ends with the name, without suffix; or else the same without leading zeros. If the name has more
        folders than the id, the folder before the id must be the songs' folder: `modelB/001` is not `001` in the
        folder `modelA`.
        """
        if self.has_id(name):
            return [self._ids[name]]
        if exact := self.with_path(name, table_folder=table_folder):
            return exact
        parts = self._parts(name)
        if not parts or ".." in parts:
            return []
        similar = self._by_end.get(_without_zeros(parts[-1]), [])
        matches = (
            [song for own, song in similar if own[1:] == parts],
            [song for own, song in similar if _agree(own, parts)],
            [song for own, song in similar if _agree(_plain(own), _plain(parts))],
        )
        found = next((songs for songs in matches if songs), [])
        # In a list, `7.wav` may mean song 7, or the file of another song.
        file = unicodedata.normalize("NFC", name.strip().replace("\\", "/")).rpartition("/")[2]
        return [*found, *(song for song in self._by_file.get(file, ()) if found and song not in found)]

    def has_id(self, name: str) -> bool:
        """Whether a song has exactly this id."""
        return name in self._ids

    def with_path(self, name: str, *, table_folder: Path) -> list[Song]:
        """Songs whose file has this path, relative to the songs' folder or to `table_folder`; several if both exist."""
        places = dict.fromkeys(_absolute(folder / name) for folder in (self.root, table_folder))
        return [song for place in places for song in self._paths.get(place, ())]

    def suggest(self, name: str) -> str:
        """The id most similar to a name; empty if none is similar."""
        ids = sorted(self._ids)
        wanted = "/".join(self._parts(name)) or name
        folded = {song_id.casefold(): song_id for song_id in ids}
        stems = {song_id.rpartition("/")[2].casefold(): song_id for song_id in ids}
        for known, text in ((folded, wanted), (stems, wanted.rpartition("/")[2])):
            close = difflib.get_close_matches(text.casefold(), known, n=1, cutoff=0.6)
            if close:
                return known[close[0]]
        return ""

    def _parts(self, name: str, *, stem: bool = False) -> Parts:
        """A name's folders and stem in normalised Unicode, because file systems and spreadsheets differ in its form."""
        plain = unicodedata.normalize("NFC", name if stem else name.strip().replace("\\", "/"))
        parts = [part for part in plain.split("/") if part not in ("", ".")]
        if parts and not stem and parts[-1].lower().endswith(self.suffixes):
            parts[-1] = parts[-1].rpartition(".")[0] or parts[-1]
        return tuple(parts) if parts or not stem else (plain,)


def _absolute(path: Path) -> str:
    return os.path.abspath(path)  # noqa: PTH100 - keeps links


def _agree(first: Parts, second: Parts) -> bool:
    """Whether one is a suffix of the other."""
    length = min(len(first), len(second))
    return first[-length:] == second[-length:]


def _plain(parts: Parts) -> Parts:
    return tuple(map(_without_zeros, parts))


def _without_zeros(part: str) -> str:
    """`7` for `007`; unchanged if it is not a number."""
    return re.sub(r"^0+(?=[0-9])", "", part) if part.isdecimal() else part
