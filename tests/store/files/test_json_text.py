"""For any text, the reader returns a finite value or raises a `JsonError`."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from store.files.json_text import JsonError, parse_json

BAD = {
    "brackets": ("[" * 200_000, "nested too deep"),
    "objects": ('{"a":' * 200_000, "nested too deep"),
    "digits": ("9" * 5_000, "too many digits"),
    "beyond float64": (f"[1{'0' * 310}]", "too many digits"),
    "500 levels": ("[" * 500 + "]" * 500, "nested too deep"),
    "101 levels": (f'{"[" * 100}{{"\\\\": "["}}{"]" * 100}', "nested too deep"),
    "infinite": ("1e999", "beyond the range"),
    "constant": ('{"a": NaN}', "NaN"),
    "cut": ('{"a": [1,', "not JSON"),
    "empty": ("", "not JSON"),
    "latin": (b'"\xff"', "not UTF-8"),
    "large": (b" " * 101, "101 bytes, expected at most 100"),
}


@pytest.mark.parametrize("kind", BAD)
def test_invalid_text_gives_one_short_error(kind: str) -> None:
    text, why = BAD[kind]
    with pytest.raises(JsonError, match=why) as caught:
        parse_json(text, largest=100 if kind == "large" else 2_000_000)
    assert len(str(caught.value)) < 100
    assert "\n" not in str(caught.value)


@given(st.binary(max_size=200) | st.text(max_size=200))
def test_any_text_gives_a_value_or_a_json_error(data: bytes | str) -> None:
    try:
        value = parse_json(data)
    except JsonError:
        return
    assert not isinstance(value, float) or math.isfinite(value)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)


@given(JSON)
def test_written_json_reads_back(value: object) -> None:
    assert parse_json(json.dumps(value)) == value
