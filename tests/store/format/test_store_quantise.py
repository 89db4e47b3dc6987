"""int8 errors, finiteness checks, and frames of any byte order, layout and array type."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from store import EmbeddingStore, Spec, StoreWriter
from store.errors import StoreError
from store.format.quantisation import (
    Levels,
    all_finite,
    levels_from_text,
    levels_to_text,
    quantise,
    to_floats,
    to_stored,
)
from store.records import encode_record

FLOATS = st.floats(-6e4, 6e4, width=32)


@given(arrays(np.float32, st.tuples(st.integers(1, 3), st.integers(1, 9), st.integers(1, 5)), elements=FLOATS))
def test_the_error_is_at_most_half_a_step(frames: np.ndarray) -> None:
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
def test_the_error_does_not_depend_on_a_channels_offset(mean: float) -> None:
    frames = np.random.default_rng(0).standard_normal((1, 5000, 64)).astype(np.float32) + np.float32(mean)
    found = to_floats(*quantise(frames))
    assert np.sqrt(np.mean((found - frames) ** 2)) == pytest.approx(7.4 / 254 / np.sqrt(12), rel=0.05)


def test_levels_as_text_round_trip() -> None:
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


def test_overflow_names_the_types_that_fit() -> None:
    frames = np.full((1, 2, 2), 1e5, np.float32)
    with pytest.raises(
        StoreError, match=r"frames reach 1e\+05, more than float16 holds \(65504\); store them as float32"
    ):
        to_stored(frames, "float16")
    np.testing.assert_allclose(to_floats(*to_stored(frames, "int8")), frames)


class Labelled(np.ndarray):
    """A subclass of ndarray, as in some libraries."""


def frozen(frames: np.ndarray) -> np.ndarray:
    frames.flags.writeable = False
    return frames


def every_other(frames: np.ndarray) -> np.ndarray:
    wide = np.zeros((*frames.shape[:2], 2 * frames.shape[2]), frames.dtype)
    wide[..., ::2] = frames
    return wide[..., ::2]


# Memory layouts of the same values.
LAYOUTS = {
    "C": np.ascontiguousarray,
    "Fortran": np.asfortranarray,
    "transposed": lambda frames: np.ascontiguousarray(frames.transpose(2, 0, 1)).transpose(1, 2, 0),
    "backwards": lambda frames: frames[:, ::-1].copy()[:, ::-1],
    "every other": every_other,
    "read-only": lambda frames: frozen(frames.copy()),
    "unaligned": lambda frames: np.frombuffer(b"x" + frames.tobytes(), frames.dtype, offset=1).reshape(frames.shape),
    "subclass": lambda frames: frames.view(Labelled),
    "masked, no value": np.ma.asarray,
}
ANY_FRAMES = {
    "kind": st.sampled_from(["f2", "f4"]),
    "order": st.sampled_from("<>"),
    "layout": st.sampled_from(sorted(LAYOUTS)),
    "dtype": st.sampled_from(["float16", "float32", "int8"]),
    "shape": st.tuples(st.integers(1, 3), st.integers(1, 9), st.integers(1, 5)),
    "seed": st.integers(0, 99),
}


def drawn(shape: tuple[int, int, int], kind: str, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 100, shape).astype(kind)


def spec_of(frames: np.ndarray, dtype: str) -> Spec:
    streams = tuple(map(str, range(frames.shape[0])))
    return Spec(streams=streams, channels=frames.shape[2], encoders={}, layers=(10,), dtype=dtype)


@given(**ANY_FRAMES)
def test_frames_in_any_byte_order_and_layout_are_stored_exactly(
    kind: str, order: str, layout: str, dtype: str, shape: tuple[int, int, int], seed: int
) -> None:
    frames = drawn(shape, kind, seed)
    given = LAYOUTS[layout](frames.astype(order + kind))
    plain = encode_record(spec_of(frames, dtype), "a", 0, frames, {})
    record = encode_record(spec_of(frames, dtype), "a", 0, given, {})
    assert type(record.stored) is np.ndarray
    assert record.stored.dtype == dtype
    assert record.stored.flags.c_contiguous
    np.testing.assert_array_equal(record.stored, plain.stored)
    np.testing.assert_array_equal(record.floats(), plain.floats())
    if dtype == "float32" or (dtype == "float16" and kind == "f2"):
        np.testing.assert_array_equal(record.floats(), frames)


@given(**ANY_FRAMES, value=st.sampled_from([np.nan, np.inf, -np.inf]), place=st.integers(0, 134))
def test_nan_and_infinity_are_refused_in_any_byte_order_and_layout(
    kind: str, order: str, layout: str, dtype: str, shape: tuple[int, int, int], seed: int, value: float, place: int
) -> None:
    frames = drawn(shape, kind, seed)
    frames.reshape(-1)[place % frames.size] = value
    given = LAYOUTS[layout](frames.astype(order + kind))
    # Values that have the storage type already are checked when they are written.
    if dtype == frames.dtype:
        assert not all_finite(given)
        return
    with pytest.raises(StoreError, match="song 'a' view 0: frames hold NaN or infinite values; nothing is stored"):
        encode_record(spec_of(frames, dtype), "a", 0, given, {})


@pytest.mark.parametrize("dtype", ["float16", "float32", "int8"])
@pytest.mark.parametrize("order", "<>")
def test_a_store_accepts_either_byte_order_and_refuses_nan(tmp_path: Path, dtype: str, order: str) -> None:
    frames = drawn((2, 7, 3), "f4", 0).astype(f"{order}f4")
    writer = StoreWriter.open(tmp_path / "store", spec_of(frames, dtype))
    writer.write("a", 0, frames, attributes={})
    found = EmbeddingStore.open(writer.root).read("a")
    np.testing.assert_allclose(found, frames, atol=2.0 if dtype == "int8" else 0.2)
    frames[1, 3, 2] = np.nan
    with pytest.raises(StoreError, match="NaN or infinite"):
        writer.write("b", 0, frames, attributes={})
    assert EmbeddingStore.open(writer.root).songs == ("a",)


def test_masked_values_are_refused() -> None:
    frames = np.ma.masked_greater(drawn((1, 3, 2), "f4", 0), 0)
    with pytest.raises(StoreError, match="song 'a' view 0: frames hold masked values; fill them first"):
        encode_record(spec_of(frames, "float16"), "a", 0, frames, {})


def test_a_scalar_is_refused() -> None:
    spec = spec_of(np.zeros((1, 1, 1)), "int8")
    with pytest.raises(StoreError, match=r"expected frames of .*, found \(\)"):
        encode_record(spec, "a", 0, np.float32(1.0), {})  # type: ignore[arg-type]
