"""A small HTML table for notebooks. Names are untrusted: everything is escaped."""

import html
from collections.abc import Iterable

from store.files.visible import visible


def html_table(rows: Iterable[Iterable[object]], *, header: Iterable[object] = (), title: str = "") -> str:
    """A table with an optional caption.

    Parameters
    ----------
    rows
        The cells of each row.
    header
        Names of the columns.
    title
        The caption.
    """
    names = list(header)
    lines = ["<table>", f"<caption>{_escaped(title)}</caption>"] if title else ["<table>"]
    if names:
        lines.append(f"<thead>{_row('th', names)}</thead>")
    lines.append("<tbody>")
    lines += [_row("td", row) for row in rows]
    return "\n".join([*lines, "</tbody>", "</table>"])


def _row(mark: str, cells: Iterable[object]) -> str:
    return f"<tr>{''.join(f'<{mark}>{_escaped(cell)}</{mark}>' for cell in cells)}</tr>"


def _escaped(cell: object) -> str:
    return html.escape(visible(str(cell)))
