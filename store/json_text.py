"""One reader for JSON that a stranger may have written: documents of a store, attributes, settings beside weights.

It answers every text with a value or with one `JsonError`. What the value means is for the caller to check.
"""

import json
from typing import Any, Never

# Bytes of one document: far above what this project writes, far below what memory holds. A catalogue is larger.
LARGEST = 16 << 20


class JsonError(ValueError):
    """The text is not JSON that can be read; the message says why, in a few words and without the text."""


def parse_json(data: bytes | str, *, largest: int = LARGEST) -> Any:
    """Read a JSON document.

    Parameters
    ----------
    data
        UTF-8, or text.
    largest
        Bytes (of text: characters) that it may have.

    Returns
    -------
    dict, list, str, int, float, bool or None
        Of any nesting that Python's reader takes (some hundreds of levels). Numbers are finite.

    Raises
    ------
    JsonError
        It is too large, not UTF-8, not JSON, nested too deep, or has a number that is not finite or has thousands of
        digits.
    """
    if len(data) > largest:
        raise JsonError(f"it has {len(data)} bytes, expected at most {largest}")
    try:
        text = data if isinstance(data, str) else data.decode("utf-8")
        return json.loads(text, parse_constant=_refuse_constant, parse_float=_finite)
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


def _refuse_constant(name: str) -> Never:
    raise JsonError(f"it has {name}, expected finite numbers")


def _finite(text: str) -> float:
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise JsonError("it has a number beyond the range of float64")
    return value
