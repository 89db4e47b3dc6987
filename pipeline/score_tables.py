"""Scores as tables for a terminal."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from stages.scoring.rows import Row
from stages.scoring.statistics import OVERALL, Distribution, best, by_group, distributions

# Characters a line where no terminal says how wide it is.
FILE_WIDTH = 160


def print_scores(
    rows: Sequence[Row], dimensions: Sequence[str], *, by: str = "", top: int | None = None, err: bool = False
) -> None:
    """Print a line a song, the batch's mean, median, p5 and p95 below, and groups where there are some.

    Parameters
    ----------
    by
        Name of the rows' groups; empty: there are none.
    top
        Print only so many songs, the best first; all in their order if not given. The figures are of all songs.
    err
        To stderr.
    """
    console = Console(stderr=err)
    if not console.is_terminal:
        console.width = FILE_WIDTH
    # What the figures say of one song, its own line says already.
    if rows if top != 0 else rows[1:]:
        console.print(_songs(rows if top is None else best(rows, top), rows, dimensions, by=by))
    if by:
        console.print(_groups(rows, by))


def _songs(rows: Sequence[Row], all_rows: Sequence[Row], dimensions: Sequence[str], *, by: str) -> Table:
    names = _names(dimensions)
    notes = any(row.error or row.warning for row in rows)
    table = _table("song", *([by] if by else []), numbers=names, texts=["note"] if notes else [])
    for row in rows:
        about = [_plain(row.path or row.song_id), *([_plain(row.group)] if by else [])]
        note = [_note(row)] if notes else []
        table.add_row(*about, *(_score(row, name) for name in names), *note)
    table.add_section()
    found = distributions(all_rows)
    for key in ("mean", "median", "p5", "p95") if len(all_rows) > 1 and found else ():
        values = [f"{asdict(found[name])[key]:.2f}" for name in names]
        table.add_row(Text(key, "bold"), *([""] if by else []), *values)
    return table


def _groups(rows: Sequence[Row], by: str) -> Table:
    groups: Mapping[str, Mapping[str, Distribution]] = by_group(rows)
    names = list(next(iter(groups.values()), {}))
    table = _table(by, numbers=["songs", *names])
    for group, found in groups.items():
        table.add_row(
            _plain(group or "(none)"), str(found[names[0]].songs), *(f"{found[name].mean:.2f}" for name in names)
        )
    return table


def _table(*first: str, numbers: Sequence[str], texts: Sequence[str] = ()) -> Table:
    table = Table(box=SIMPLE_HEAD, header_style="bold", pad_edge=False)
    for name in first:
        table.add_column(_plain(name), overflow="fold")
    for name in numbers:
        table.add_column(name, justify="right", no_wrap=True)
    for name in texts:
        table.add_column(name, overflow="fold")
    return table


def _names(dimensions: Sequence[str]) -> list[str]:
    return [*dimensions, OVERALL] if len(dimensions) > 1 else list(dimensions)


def _score(row: Row, name: str) -> str:
    if not row.scores:
        return "–"
    value = row.overall if name == OVERALL else row.scores[name]
    return f"{value:.2f}" + (f" ± {row.spread[name]:.2f}" if name in row.spread else "")


def _note(row: Row) -> Text:
    if row.error:
        return Text(f"failed: {_clean(row.error)}", "red")
    return Text(f"⚠ novelty {row.novelty:.2f}" if row.warning else "", "dark_orange3")


def _plain(text: str) -> Text:
    """A name as it is: no markup, and no control characters that could move a terminal's cursor."""
    return Text(_clean(text))


def _clean(text: str) -> str:
    return "".join(mark if mark.isprintable() else f"\\x{ord(mark):02x}" for mark in text)
