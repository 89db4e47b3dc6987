"""Tables for a terminal: scores, and the figures of a store."""

import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from pipeline.show.output import console
from stages.scoring.beside.agreement import agreement, beside_columns, disagreements
from stages.scoring.rows import SongScore, caution_in
from stages.scoring.statistics import OVERALL, Distribution, best, by_group, distribution, distributions
from store.files.visible import visible

# Characters per line if standard output is not a terminal.
FILE_WIDTH = 160
# On narrower terminals, a score's spread is below it, and headings longer than `LONGEST` take two lines.
NARROW = 120
LONGEST = 7
# Characters of a failure's reason in the table.
REASON = 80


def print_scores(
    rows: Sequence[SongScore], dimensions: Sequence[str], *, by: str = "", top: int | None = None, err: bool = False
) -> None:
    """Print one line per song; below, the batch's mean, median, p5 and p95, its groups, others' agreement, the caution.

    Parameters
    ----------
    by
        Name of the rows' groups, or empty.
    top
        Print only this many songs, best first; by default all, in their order. The statistics are of all songs.
    err
        Print to stderr.
    """
    screen = console(err=err)
    if not screen.is_terminal:
        screen.width = FILE_WIDTH
    # The statistics of a single song are already in its own line.
    if rows if top != 0 else rows[1:]:
        shown = rows if top is None else best(rows, top)
        unlimited = screen.options.update(max_width=sys.maxsize)
        for table in _song_tables(
            shown,
            rows,
            dimensions,
            by=by,
            narrow=screen.width < NARROW,
            fits=lambda table: screen.measure(table, options=unlimited).minimum <= screen.width,
        ):
            screen.print(table)
    if by:
        screen.print(_groups(rows, by))
    for part in _agreement(rows, narrow=screen.width < NARROW):
        screen.print(part)
    if caution := caution_in(rows):
        screen.print(Text(f"⚠ {visible(caution)}", "bold dark_orange3"))


def _song_tables(
    rows: Sequence[SongScore],
    all_rows: Sequence[SongScore],
    dimensions: Sequence[str],
    *,
    by: str,
    narrow: bool,
    fits: Callable[[Table], bool],
) -> list[Table]:
    """One table, or, if other models' columns do not fit beside ours, one per model."""
    names, others = _names(dimensions), beside_columns(all_rows)
    together = _songs(rows, all_rows, names, others, by=by, narrow=narrow)
    if not others or fits(together):
        return [together]
    parts = [[one for one in others if one[0] == model] for model in dict.fromkeys(model for model, _ in others)]
    theirs = [_songs(rows, all_rows, [], part, by=by, narrow=narrow) for part in parts]
    return [_songs(rows, all_rows, names, [], by=by, narrow=narrow), *theirs]


def _songs(
    rows: Sequence[SongScore],
    all_rows: Sequence[SongScore],
    names: Sequence[str],
    others: Sequence[tuple[str, str]],
    *,
    by: str,
    narrow: bool,
) -> Table:
    """The scores `names` of ours, and those of `others`, each a model and its dimension."""
    folder = _common_folder(rows)
    headings = [visible(name) for name in names]
    if narrow and len(names) > 1:
        headings = [_broken(name) for name in headings]
    headings += [f"{visible(model)}\n{_broken(visible(name)) if narrow else visible(name)}" for model, name in others]
    table = score_table("song", *([by] if by else []), numbers=headings)
    if folder:
        table.title, table.title_justify = plain(f"in {folder}"), "left"
    for row in rows:
        about = [_song(row, folder), *([plain(row.group)] if by else [])]
        scores = [_score(row, name, narrow=narrow) for name in names]
        table.add_row(*about, *scores, *(_other(row, model, name) for model, name in others))
    table.add_section()
    found = distributions(all_rows)
    beside = [distribution(_others(all_rows, model, name)) for model, name in others]
    for key in ("mean", "median", "p5", "p95") if len(all_rows) > 1 and found else ():
        values = [f"{asdict(one)[key]:.2f}" for one in [*(found[name] for name in names), *beside]]
        table.add_row(Text(key, "bold"), *([""] if by else []), *values)
    return table


def _others(rows: Sequence[SongScore], model: str, name: str) -> list[float]:
    return [row.beside[model][name] for row in rows if name in row.beside.get(model, {})]


def _other(row: SongScore, model: str, name: str) -> str:
    values = _others([row], model, name)
    return f"{values[0]:.2f}" if values else "–"


def _agreement(rows: Sequence[SongScore], *, narrow: bool) -> Iterator[Table | Text]:
    """Rank correlations of other models with our scores, and the songs on which a model differs most."""
    folder = _common_folder(rows)
    for model, found in agreement(rows).items():
        names = map(visible, next(iter(found.values())))
        table = score_table("", numbers=[_broken(name) if narrow else name for name in names])
        table.title, table.title_justify = plain(f"rank correlation with {model}"), "left"
        for name, correlations in found.items():
            values = ("–" if value is None else f"{value:+.2f}" for value in correlations.values())
            table.add_row(plain(name), *values)
        yield table
        for one in disagreements(rows, model):
            place = f"place {one.ours:g} of {one.songs} here, {one.theirs:g} by {model}"
            yield plain(f"{_name(one.row, folder)}: {place}")


def _common_folder(rows: Sequence[SongScore]) -> str:
    """The folder that all songs share, printed once to leave room for names; empty if there is none."""
    paths = [Path(row.path) for row in rows if row.path]
    if len(paths) < 2 or len({path.is_absolute() for path in paths}) > 1:
        return ""
    folder = os.path.commonpath([path.parent for path in paths])
    return "" if folder in ("", ".", "/") else folder


def _groups(rows: Sequence[SongScore], by: str) -> Table:
    groups: Mapping[str, Mapping[str, Distribution]] = by_group(rows)
    names = list(next(iter(groups.values()), {}))
    table = score_table(by, numbers=["songs", *map(visible, names)])
    for group, found in groups.items():
        table.add_row(
            plain(group or "(none)"), str(found[names[0]].songs), *(f"{found[name].mean:.2f}" for name in names)
        )
    return table


def score_table(*first: str, numbers: Sequence[str]) -> Table:
    table = Table(box=SIMPLE_HEAD, header_style="bold", pad_edge=False, padding=(0, 1, 0, 0))
    for name in first:
        table.add_column(plain(name), overflow="fold")
    for name in numbers:
        table.add_column(Text(name), justify="right", no_wrap=True)
    return table


def _names(dimensions: Sequence[str]) -> list[str]:
    return [*dimensions, OVERALL] if len(dimensions) > 1 else list(dimensions)


def _broken(name: str) -> str:
    """A heading on two lines: headings, not scores, make the columns wide."""
    half = len(name) // 2
    return f"{name[:half]}-\n{name[half:]}" if len(name) > LONGEST else name


def _song(row: SongScore, folder: str) -> Text:
    """The song's name and, below it, its error and warnings."""
    text = plain(_name(row, folder))
    if row.error:
        # The whole reason was printed above the table when the song failed.
        reason = visible(row.error)
        text.append(f"\nfailed: {reason if len(reason) <= REASON else reason[: REASON - 1] + '…'}", "red")
    for note in row.notes:
        text.append(f"\n⚠ {note}", "dark_orange3")
    return text


def _name(row: SongScore, folder: str) -> str:
    return os.path.relpath(row.path, folder) if row.path and folder else row.path or row.song_id


def _score(row: SongScore, name: str, *, narrow: bool) -> str:
    if not row.scores:
        return "–"
    value = row.overall if name == OVERALL else row.scores[name]
    between = "\n" if narrow else " "
    return f"{value:.2f}" + (f"{between}± {row.spread[name]:.2f}" if name in row.spread else "")


def plain(text: str) -> Text:
    """A name without markup; unprintable characters are escaped before its column is measured."""
    return Text(visible(text))


def describe_text(figures: Mapping[str, Any]) -> str:
    """The figures of `store.describe` as text: the spec, then one line per split and view."""
    spec = "\n".join(f"  {visible(name):15} {_spec_value(value)}" for name, value in figures["spec"].items())
    contents = f"format {figures['format']} {figures['version']}, {figures['songs']} songs"
    head = f"{visible(figures['root'])}\n{contents}\nspec\n{spec}"
    for name, provenance in figures["encoders_from"].items():
        head += f"\nweights of {visible(name)}: {_spec_value(provenance)}"
    groups = {"(all)": figures, **figures.get("splits", {})}
    lines = [f"{'split':10} {'view':>5} {'records':>9} {'hours':>10} {'GB':>10}"]
    for split, group in groups.items():
        lines.append(_counts(split, "all", group))
        lines += [_counts(split, view, total) for view, total in group["views"].items()]
    missing = [
        f"{name}: {group['missing']} songs of the manifest are not in the store"
        for name, group in groups.items()
        if group.get("missing")
    ]
    return "\n".join([head, *lines, *missing])


def _spec_value(value: object) -> str:
    if isinstance(value, Mapping):
        text = ", ".join(f"{key}={item}" for key, item in value.items())
    else:
        text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return visible(text)


def _counts(split: str, view: str, total: Mapping[str, float]) -> str:
    return f"{split:10} {view:>5} {total['records']:9d} {total['hours']:10.2f} {total['bytes'] / 1e9:10.3f}"
