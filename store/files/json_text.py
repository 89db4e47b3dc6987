"""One reader for JSON that a stranger may have written: documents of a store, attributes, settings beside weights.

It answers every text with a value or with one `JsonError`. What the value means is for the caller to check.
"""

import json
import re
import reprlib
from typing import Any, Never

# Bytes of one document: far above what this project writes, far below what memory holds. A catalogue is larger.
LARGEST = 16 << 20
# Levels of nesting: few enough that a value can be written again wherever it is used, however deep the stack is there.
DEEPEST = 100
# No number with this many digits is beyond the range of float64.
_DIGITS = 308
_TEXT_OR_BRACKET = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|[][{}]')

_BRIEF = reprlib.Repr()
_BRIEF.maxstring = _BRIEF.maxother = 80


class JsonError(ValueError):
    """The text is not JSON that can be read; the message says why, in a few words and without the text."""


def parse_json(data: bytes | str, *, largest: int = LARGEST, bounded: bool = True) -> Any:
    """Read a JSON document.

    Parameters
    ----------
    data
        UTF-8, or text.
    largest
        Bytes (of text: characters) that it may have.
    bounded
        Refuse numbers beyond the range of float64, whole ones included. It takes time; a caller that compares each
        number with its own bounds can do without.

    Returns
    -------
    dict, list, str, int, float, bool or None
        Nested at most 100 levels deep.

    Raises
    ------
    JsonError
        It is too large, not UTF-8, not JSON, nested too deep, or has a number that is not finite or beyond float64.
    """
    if len(data) > largest:
        raise JsonError(f"it has {len(data)} bytes, expected at most {largest}")
    try:
        text = data if isinstance(data, str) else data.decode("utf-8")
        value = (_BOUNDED if bounded else _UNBOUNDED).decode(text)
    except RecursionError:
        raise JsonError("it is nested too deep") from None
    except UnicodeDecodeError:
        raise JsonError("it is not UTF-8") from None
    except json.JSONDecodeError as error:
        raise JsonError(f"it is not JSON: {error.msg} at line {error.lineno}, column {error.colno}") from None
    except JsonError:
        raise
    except ValueError:
        raise JsonError("a number in it has too many digits") from None
    if _is_deep(text):
        raise JsonError("it is nested too deep")
    return value


def brief(value: object) -> str:
    """The value as an error shows it: its `repr`, shortened where it is long or deep."""
    return _BRIEF.repr(value)


def _is_deep(text: str) -> bool:
    """Whether valid JSON has more than so many levels."""
    if text.count("[") + text.count("{") <= DEEPEST:
        return False
    depth = deepest = 0
    for found in _TEXT_OR_BRACKET.finditer(text):
        depth += {"[": 1, "{": 1, "]": -1, "}": -1}.get(found[0], 0)
        deepest = max(depth, deepest)
    return deepest > DEEPEST


def _refuse_constant(name: str) -> Never:
    raise JsonError(f"it has {name}, expected finite numbers")


def _whole(text: str) -> int:
    if len(text) > _DIGITS:
        raise JsonError("a number in it has too many digits")
    return int(text)


def _finite(text: str) -> float:
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise JsonError("it has a number beyond the range of float64")
    return value


# Made once: for a short document, making one takes as long as reading it.
_BOUNDED = json.JSONDecoder(parse_constant=_refuse_constant, parse_float=_finite, parse_int=_whole)
_UNBOUNDED = json.JSONDecoder(parse_constant=_refuse_constant)
