"""A small HTML table for notebooks. Names in it may be anybody's: everything is escaped."""

import html
from collections.abc import Iterable

from store.files.visible import visible


def html_table(rows: Iterable[Iterable[object]], *, header: Iterable[object] = (), title: str = "") -> str:
    """A table with an optional line above it.

    Parameters
    ----------
    rows
        The cells of each row.
    header
        Names of the columns.
    title
        Says what is shown.
    """
    names = list(header)
    lines = [f"<p><b>{_escaped(title)}</b></p>"] if title else []
    lines.append("<table>")
    if names:
        lines.append(f"<thead>{_row('th', names)}</thead>")
    lines.append("<tbody>")
    lines += [_row("td", row) for row in rows]
    return "\n".join([*lines, "</tbody>", "</table>"])


def _row(mark: str, cells: Iterable[object]) -> str:
    return f"<tr>{''.join(f'<{mark}>{_escaped(cell)}</{mark}>' for cell in cells)}</tr>"


def _escaped(cell: object) -> str:
    return html.escape(visible(str(cell)))
