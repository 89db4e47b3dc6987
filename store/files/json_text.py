"""Reading untrusted JSON: documents of a store, attributes, settings beside weights.

Every text gives either a value or a `JsonError`. The caller checks the value's meaning.
"""

import json
import re
import reprlib
from typing import Any, Never

# Bytes of one document: far more than this project writes, far less than memory. A catalogue may be larger.
LARGEST = 16 << 20
# Levels of nesting: few enough that a value can be encoded again anywhere without overflowing the stack.
DEEPEST = 100
# Most digits of a whole number: all of them fit into the range of float64.
_DIGITS = 308
_TEXT_OR_BRACKET = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|[][{}]')

_BRIEF = reprlib.Repr()
_BRIEF.maxstring = _BRIEF.maxother = 80


class JsonError(ValueError):
    """The text is not valid JSON within the limits; the message gives the reason, without the text."""


def parse_json(data: bytes | str, *, largest: int = LARGEST, bounded: bool = True) -> Any:
    """Read a JSON document.

    Parameters
    ----------
    data
        UTF-8, or text.
    largest
        Most bytes (or characters of text) that it may have.
    bounded
        Refuse numbers beyond the range of float64, including integers. This takes time; callers that check the range of
        each number do not need it.

    Returns
    -------
    dict, list, str, int, float, bool or None
        Nested at most 100 levels deep.

    Raises
    ------
    JsonError
        It is too large, not UTF-8, not JSON, nested too deep, or has a number that is not finite or exceeds float64.
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
    """The value's `repr` for an error message, shortened if it is long or deep."""
    return _BRIEF.repr(value)


def _is_deep(text: str) -> bool:
    """Whether valid JSON has more than `DEEPEST` levels."""
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


# Made once: making a decoder takes as long as reading a short document.
_BOUNDED = json.JSONDecoder(parse_constant=_refuse_constant, parse_float=_finite, parse_int=_whole)
_UNBOUNDED = json.JSONDecoder(parse_constant=_refuse_constant)
