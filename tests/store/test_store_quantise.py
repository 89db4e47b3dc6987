"""int8: what it costs, and the finiteness test."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from store.errors import StoreError
from store.quantise import Levels, all_finite, levels_from_text, levels_to_text, quantise, to_floats, to_stored

FLOATS = st.floats(-6e4, 6e4, width=32)


@given(arrays(np.float32, st.tuples(st.integers(1, 3), st.integers(1, 9), st.integers(1, 5)), elements=FLOATS))
def test_the_error_is_half_a_step_at_most(frames: np.ndarray) -> None:
    stored, levels = quantise(frames)
    assert (stored.dtype, levels.scale.dtype, levels.offset.shape) == (np.int8, np.float32, frames.shape[::2])
    assert stored.min() >= -127
    error = np.abs(to_floats(stored, levels).astype(np.float64) - frames)
    rounding = 4 * np.finfo(np.float32).eps * np.abs(frames).max(axis=1, keepdims=True)
    assert (error <= 0.5 * levels.scale[:, None, :] + rounding).all()


def test_a_constant_channel_is_exact() -> None:
    frames = np.full((1, 4, 2), 123.456, np.float32)
    frames[0, :, 1] = [0, 1, -2, 0.5]
    stored, levels = quantise(frames)
    np.testing.assert_array_equal(levels.scale, [[1, np.float32(3 / 254)]])
    np.testing.assert_array_equal(levels.offset, [[np.float32(123.456), -0.5]])
    np.testing.assert_array_equal(to_floats(stored, levels)[..., 0], frames[..., 0])
    np.testing.assert_array_equal(stored[0, :, 1], [42, 127, -127, 85])


@pytest.mark.parametrize("mean", [0, 40])
def test_the_error_does_not_depend_on_where_a_channel_lies(mean: float) -> None:
    frames = np.random.default_rng(0).standard_normal((1, 5000, 64)).astype(np.float32) + np.float32(mean)
    found = to_floats(*quantise(frames))
    assert np.sqrt(np.mean((found - frames) ** 2)) == pytest.approx(7.4 / 254 / np.sqrt(12), rel=0.05)


def test_levels_as_text_there_and_back() -> None:
    levels = Levels(*np.random.default_rng(0).standard_normal((2, 3, 5)).astype(np.float32))
    texts = levels_to_text(levels)
    for values, again in zip(levels, levels_from_text(texts, (3, 5)), strict=True):
        np.testing.assert_array_equal(again, values)
    with pytest.raises(ValueError, match="reshape"):
        levels_from_text(texts, (3, 4))
    with pytest.raises(ValueError, match="base64"):
        levels_from_text({**texts, "scale": "?"}, (3, 5))


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_one_bad_value_is_found_anywhere(dtype: type, value: float) -> None:
    values = np.full((3, 70_000), 6e4, dtype)
    values[1] = -0.0
    values[2] = np.finfo(dtype).smallest_subnormal
    assert all_finite(values)
    for place in (0, 131_071, 131_072, values.size - 1):
        bad = values.copy()
        bad.reshape(-1)[place] = value
        assert not all_finite(bad)


def test_overflow_says_what_would_hold_it() -> None:
    frames = np.full((1, 2, 2), 1e5, np.float32)
    with pytest.raises(
        StoreError, match=r"frames reach 1e\+05, more than float16 holds \(65504\); store them as float32"
    ):
        to_stored(frames, "float16")
    np.testing.assert_allclose(to_floats(*to_stored(frames, "int8")), frames)
