"""Rows of songs as columns, for a data frame."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stages.scoring.rows import SongScore

UNKNOWN = float("nan")


def score_columns(rows: "Sequence[SongScore]") -> dict[str, list[Any]]:
    """Columns by name, one value per song; see `ScoreTable.to_frame`."""
    return (
        _texts(rows, "song_id", "path", "group")
        | _numbers(row.scores for row in rows)
        | _numbers({f"{name}_std": value for name, value in row.spread.items()} for row in rows)
        | _numbers(
            {f"{model}.{name}": value for model, scores in row.beside.items() for name, value in scores.items()}
            for row in rows
        )
        | _numbers({"seconds": row.seconds, "novelty": row.novelty, "loudest_dbfs": row.loudest} for row in rows)
        | _texts(rows, "warning", "caution", "error", "source", "model")
    )


def _texts(rows: "Sequence[SongScore]", *names: str) -> dict[str, list[Any]]:
    return {name: [getattr(row, name) for row in rows] for name in names}


def _numbers(rows: Iterable[Mapping[str, float | None]]) -> dict[str, list[Any]]:
    """A column for each name that occurs; NaN where a row has no number."""
    rows = list(rows)
    names = dict.fromkeys(name for row in rows for name in row)
    columns = {name: [row.get(name) for row in rows] for name in names}
    return {name: [UNKNOWN if value is None else value for value in column] for name, column in columns.items()}
