"""Untrusted text, such as file names, made safe to display: nothing in it moves a cursor or hides.

Characters that are not printable are shown as Python escapes (`\\x1b`, `\\u202e`): control characters, marks that
change the direction of writing, invisible characters, line separators, lone surrogates. Letters and spaces of every
script stay, and so do the two joiners that Persian, Indic scripts and emoji need.
"""

import json
import unicodedata
from collections.abc import Callable
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


def _replaced(text: str, keep: str, escape: Callable[[str], str]) -> str:
    if text.isprintable():
        return text
    return "".join(mark if _is_safe(mark) or mark in keep else escape(mark) for mark in text)


def _is_safe(mark: str) -> bool:
    return mark.isprintable() or mark in JOINERS or unicodedata.category(mark) == "Zs"
