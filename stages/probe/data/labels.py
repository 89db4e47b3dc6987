"""Where labels come from: any column of a manifest, or of a table (CSV, JSON lines) with a column `song_id`."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from stages.probe.errors import ProbeError
from stages.songs import Manifest, SongsError
from stages.songs.manifest_file import as_manifest
from stages.songs.tables import read_cells

# How spreadsheets and pandas write "no value".
_MISSING = ("", "nan")


@dataclass(frozen=True)
class LabelTable:
    """Columns of text, by song id.

    Attributes
    ----------
    where
        The files, for messages.
    songs
        Every song that a file lists, with or without values.
    columns
        Column name → song id → text, without the songs that have no value.
    """

    where: str
    songs: tuple[str, ...]
    columns: Mapping[str, Mapping[str, str]]

    def column(self, name: str) -> Mapping[str, str]:
        """One column, by song id, for the songs that have a value.

        Raises
        ------
        ProbeError
            There is no such column, or no song has a value in it.
        """
        if name not in self.columns:
            raise ProbeError(f"{self.where}: no column {name!r}; there are {', '.join(sorted(self.columns))}")
        if not self.columns[name]:
            raise ProbeError(f"{self.where}: no song has a value in column {name!r}; fill it or choose another")
        return self.columns[name]


def read_labels(*, manifest: Manifest | str | Path | None = None, labels: str | Path | None = None) -> LabelTable:
    """Read the columns of a manifest, of a labels CSV, or of both; where both have a column, the CSV's counts.

    Raises
    ------
    ProbeError
        Neither is given, or the CSV names a song twice.
    SongsError
        A file cannot be read, or is not CSV with the columns it needs.
    """
    if manifest is None and labels is None:
        raise ProbeError("nothing to take labels from; give a manifest, a labels CSV, or both")
    files: list[Path] = []
    songs: dict[str, None] = {}
    columns: dict[str, Mapping[str, str]] = {}
    if manifest is not None:
        found = as_manifest(manifest)
        files.append(found.path)
        songs.update(dict.fromkeys(song.song_id for song in found.songs))
        columns.update(_manifest_columns(found))
    if labels is not None:
        more = _csv_columns(Path(labels))
        files.append(Path(labels))
        songs.update(dict.fromkeys(song for column in more.values() for song in column))
        columns.update(more)
    where = " and ".join(map(str, files))
    kept = {name: _present(column) for name, column in columns.items()}
    return LabelTable(where=where, songs=tuple(songs), columns=kept)


def _manifest_columns(manifest: Manifest) -> dict[str, Mapping[str, str]]:
    columns: dict[str, Mapping[str, str]] = {"split": {song.song_id: song.split for song in manifest.songs}}
    columns.update({name: manifest.column(name) for name in manifest.columns()})
    return columns


def _csv_columns(path: Path) -> dict[str, dict[str, str]]:
    columns: dict[str, dict[str, str]] = {}
    seen: set[str] = set()
    table = read_cells(path)
    if "song_id" not in table.header:
        raise SongsError(f"{path} line 1: no column song_id; found {', '.join(table.header)}")
    for line, cells in table.rows:
        song = cells.pop("song_id")
        if not song or song in seen:
            said = f"song_id {song!r} is there already; one line a song" if song else "song_id is empty"
            raise ProbeError(f"{path} line {line}: {said}")
        seen.add(song)
        for name, value in cells.items():
            columns.setdefault(name, {})[song] = value
    if not columns:
        raise ProbeError(f"{path}: lists no labels; expected a column beside song_id and a line a song")
    return columns


def _present(column: Mapping[str, str]) -> dict[str, str]:
    stripped = {song: value.strip() for song, value in column.items()}
    return {song: value for song, value in stripped.items() if value.lower() not in _MISSING}
