"""Untrusted text, such as file names, made safe to display: nothing in it moves a cursor or hides.

Characters that are not printable are shown as Python escapes (`\\x1b`, `\\u202e`): control characters, marks that
change the direction of writing, invisible characters, line separators, lone surrogates. Letters and spaces of every
script stay, and so do the two joiners that Persian, Indic scripts and emoji need.
"""

import html
import json
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

JOINERS = "\u200c\u200d"


def visible(text: str, *, keep: str = "") -> str:
    """The text with unprintable characters escaped, except those in `keep`, such as `\\n`."""
    return _replaced(text, keep, lambda mark: mark.encode("unicode_escape").decode())


def to_json(value: Any, *, indent: int | None = None) -> str:
    """JSON that reads back as the same value: letters of every script unchanged, unprintable characters escaped."""
    text = json.dumps(value, indent=indent, ensure_ascii=False)
    # Newlines occur only between values: within strings they are escaped already.
    return _replaced(text, "\n", lambda mark: json.dumps(mark)[1:-1])


def to_html(text: object) -> str:
    """The text as HTML that shows it; nothing in it is markup."""
    return html.escape(visible(str(text), keep="\n"))


def to_html_table(title: str, values: Mapping[str, object]) -> str:
    """A table of names and values, for `_repr_html_`; everything in it is escaped."""
    return _html_table(title, (_cells(["th", "td"], pair) for pair in values.items()))


def to_html_columns(title: str, header: Sequence[object], rows: Iterable[Sequence[object]]) -> str:
    """A table of rows below a header, for `_repr_html_`; everything in it is escaped."""
    return _html_table(title, [_cells(["th"] * len(header), header), *(_cells(["td"] * len(row), row) for row in rows)])


def _html_table(title: str, rows: Iterable[str]) -> str:
    return f"<table><caption>{to_html(title)}</caption>{''.join(rows)}</table>"


def _cells(marks: Sequence[str], cells: Sequence[object]) -> str:
    marked = (f"<{mark}>{to_html(cell)}</{mark}>" for mark, cell in zip(marks, cells, strict=True))
    return f"<tr>{''.join(marked)}</tr>"


def _replaced(text: str, keep: str, escape: Callable[[str], str]) -> str:
    if text.isprintable():
        return text
    return "".join(mark if _is_safe(mark) or mark in keep else escape(mark) for mark in text)


def _is_safe(mark: str) -> bool:
    return mark.isprintable() or mark in JOINERS or unicodedata.category(mark) == "Zs"
