"""int8: what it costs, and the finiteness test."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from store.errors import StoreError
from store.quantise import all_finite, quantise, to_floats, to_stored

FLOATS = st.floats(-6e4, 6e4, width=32)


@given(arrays(np.float32, st.tuples(st.integers(1, 3), st.integers(1, 9), st.integers(1, 5)), elements=FLOATS))
def test_the_error_is_half_a_step_at_most(frames: np.ndarray) -> None:
    stored, scale = quantise(frames)
    assert (stored.dtype, scale.dtype, scale.shape) == (np.int8, np.float32, frames.shape[::2])
    assert stored.min() >= -127
    error = np.abs(to_floats(stored, scale).astype(np.float64) - frames)
    assert (error <= 0.5001 * scale[:, None, :]).all()


def test_a_silent_channel_stays_silent() -> None:
    frames = np.zeros((1, 4, 2), np.float32)
    frames[0, :, 1] = [0, 1, -2, 0.5]
    stored, scale = quantise(frames)
    np.testing.assert_array_equal(scale, [[1, np.float32(2) / 127]])
    np.testing.assert_array_equal(stored[0, :, 0], 0)
    np.testing.assert_array_equal(stored[0, :, 1], [0, 64, -127, 32])


def test_normal_values_keep_a_fraction_of_a_percent() -> None:
    frames = np.random.default_rng(0).standard_normal((1, 5000, 64)).astype(np.float32)
    found = to_floats(*quantise(frames))
    assert np.sqrt(np.mean((found - frames) ** 2)) == pytest.approx(3.7 / 127 / np.sqrt(12), rel=0.05)


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
