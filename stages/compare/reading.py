"""Score files of `hear-head predict`, read back: --json, --csv and --jsonl."""

import io
import math
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from stages.common.csv_text import CsvError, read_rows
from stages.extract.audio.loudness import LOWEST_DBFS
from stages.scoring.errors import ScoringError
from stages.scoring.rows import SongScore
from store.files.json_text import JsonError, brief, parse_json
from store.files.regular import LARGEST_TEXT, IrregularFileError, read_regular

SUFFIXES = (".csv", ".json", ".jsonl")
_EXPECTED = "a file of hear-head predict (--json, --csv or --jsonl)"
# Warnings of `SongScore.warnings`, where a file has them as text alone.
_LEVEL, _NOVELTY = re.compile(r"loudest second is at (-?\d+) dBFS"), re.compile(r"novelty (more than )?(\d+\.\d+)")
_MISSING, _SKIPPED = re.compile(r"(\d+\.\d) s are missing"), re.compile(r"(\d+) of its packets")


def is_score_file(path: Path) -> bool:
    """Whether a file has text that could be scores; a checkpoint is a folder or begins with other bytes."""
    if not path.is_file():
        return False
    try:
        with path.open("rb") as file:
            return file.read(64).lstrip(b"\xef\xbb\xbf \r\n\t").startswith((b"{", b"[", b"song_id,"))
    except OSError as error:
        raise ScoringError(f"{path}: cannot be read: {error.strerror}; choose another file") from error


def read_scores(path: str | Path) -> list[SongScore]:
    """Read a score file; the format follows from its content.

    Parameters
    ----------
    path
        A file of `hear-head predict`: --json, --csv or --jsonl. Of a song that --jsonl has several times, the last
        line counts.

    Returns
    -------
    list of SongScore
        In the order of the file. The kinds of warnings are those of the song; --json and --csv keep them as text.

    Raises
    ------
    ScoringError
        The file cannot be read, or a row is not a row of scores; the message names it.
    """
    path = Path(path)
    try:
        text = read_regular(path, largest=LARGEST_TEXT).decode("utf-8-sig")
    except (OSError, UnicodeDecodeError, IrregularFileError) as error:
        reason = getattr(error, "strerror", None) or str(error).removeprefix(f"{path}: ")
        raise ScoringError(f"{path}: cannot be read: {reason}; expected {_EXPECTED}") from error
    begin = text.lstrip()[:1]
    rows = list(_json(path, text) if begin == "[" else _lines(path, text) if begin == "{" else _csv(path, text))
    if not rows:
        raise ScoringError(f"{path}: has no songs; expected {_EXPECTED} with at least one")
    return list({row.path or row.song_id: row for row in rows}.values()) if begin == "{" else rows


def _json(path: Path, text: str) -> Iterator[SongScore]:
    try:
        values = parse_json(text, largest=LARGEST_TEXT)
    except JsonError as error:
        raise ScoringError(f"{path}: cannot be read: {error}; expected {_EXPECTED}") from error
    for number, row in enumerate(values, start=1):
        yield _row(row, f"{path} song {number}")


def _lines(path: Path, text: str) -> Iterator[SongScore]:
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            where = f"{path} line {number}"
            try:
                values = parse_json(line)
            except JsonError as error:
                raise ScoringError(f"{where}: cannot be read: {error}; remove the line") from error
            yield _row(values, where)


def _row(values: Any, where: str) -> SongScore:
    try:
        return SongScore.from_json({**_flags(values.get("warning", "")), **values})
    except (KeyError, TypeError, AttributeError) as error:
        raise ScoringError(f"{where}: expected a row of scores, found {brief(values)}; correct or remove it") from error


def _csv(path: Path, text: str) -> Iterator[SongScore]:
    try:
        rows = [(line, cells) for line, cells in read_rows(io.StringIO(text, newline="")) if cells]
    except CsvError as error:
        raise ScoringError(f"{path} line {error.line}: not valid CSV: {error}; expected {_EXPECTED}") from error
    header = rows[0][1] if rows else []
    if header[:3] != ["song_id", "path", "group"]:
        raise ScoringError(f"{path}: expected {_EXPECTED}, found a first line {brief(','.join(header))}")
    for line, cells in rows[1:]:
        if len(cells) != len(header):
            raise ScoringError(f"{path} line {line}: has {len(cells)} cells, expected {len(header)}; correct the line")
        yield _csv_row(dict(zip(header, cells, strict=True)), header, f"{path} line {line}")


def _csv_row(cells: dict[str, str], header: Sequence[str], where: str) -> SongScore:
    def number(name: str) -> float:
        if not math.isfinite(value := float(cells[name])):
            raise ValueError(f"{name} is {cells[name]}, expected a finite number")
        return value

    def numbers(names: Sequence[str], ending: str = "") -> dict[str, float]:
        return {name: number(name + ending) for name in names if cells[name + ending]}

    dimensions = [name for name in header if f"{name}_std" in header]
    text = {name: cells.get(name, "") for name in ("song_id", "path", "group", "caution", "error")}
    beside: dict[str, dict[str, float]] = {}
    try:
        known = {name: number(name) for name in ("novelty", "loudest_dbfs") if cells.get(name)}
        values = {"scores": numbers(dimensions), "std": numbers(dimensions, "_std")}
        for name in header:
            model, found, dimension = name.rpartition(".")
            if found and name.removesuffix("_std") not in dimensions and cells[name]:
                beside.setdefault(model, {})[dimension] = number(name)
    except ValueError as error:
        raise ScoringError(f"{where}: {error}; correct the line") from error
    return SongScore.from_json({**_flags(cells.get("warning", "")), **text, **known, **values, "beside": beside})


def _flags(warning: str) -> dict[str, Any]:
    """The values behind a warning, which gives the same warning again."""
    found: dict[str, Any] = {}
    if level := _LEVEL.search(warning):
        found["loudest_dbfs"] = float(level[1])
    elif warning.startswith("silence:"):
        found["loudest_dbfs"] = LOWEST_DBFS
    if "damaged: " in warning:
        missing, skipped = _MISSING.search(warning), _SKIPPED.search(warning)
        found["damage"] = {
            **({"truncated": True} if missing or "a part is missing" in warning else {}),
            **({"missing": float(missing[1])} if missing else {}),
            **({"skipped": int(skipped[1])} if skipped else {}),
        }
    if novelty := _NOVELTY.search(warning):
        found["novelty"] = 1.0001 if novelty[1] else float(novelty[2])
    return found
