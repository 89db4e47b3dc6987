"""A small HTML table for notebooks and pages. Names are untrusted: everything is escaped."""

import html
from collections.abc import Collection, Iterable
from itertools import zip_longest

from store.files.visible import visible


def html_table(
    rows: Iterable[Iterable[object]], *, header: Iterable[object] = (), title: str = "", words: Collection[object] = ()
) -> str:
    """A table with an optional caption.

    Parameters
    ----------
    rows
        The cells of each row; a tuple is a cell of several lines.
    header
        Names of the columns.
    title
        The caption.
    words
        Names of the columns of words, which are aligned left on our pages.
    """
    names = list(header)
    classes = [" class=text" if name in words else "" for name in names]

    def row(mark: str, cells: Iterable[object]) -> str:
        shown = zip_longest(cells, classes, fillvalue="")
        return f"<tr>{''.join(f'<{mark}{kind}>{_escaped(cell)}</{mark}>' for cell, kind in shown)}</tr>"

    lines = ["<table>", f"<caption>{_escaped(title)}</caption>"] if title else ["<table>"]
    if names:
        lines.append(f"<thead>{row('th', names)}</thead>")
    lines.append("<tbody>")
    lines += [row("td", each) for each in rows]
    return "\n".join([*lines, "</tbody>", "</table>"])


def _escaped(cell: object) -> str:
    return "<br>".join(map(_escaped, cell)) if isinstance(cell, tuple) else html.escape(visible(str(cell)))
