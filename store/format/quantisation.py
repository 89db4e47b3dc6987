"""Storage types: floats ↔ what is stored. int8 keeps a scale and an offset a stream and channel of each record."""

import base64
from collections.abc import Mapping
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from store.errors import StoreError

_Number = TypeVar("_Number", bound=np.generic)

LEVELS = 127
# By size of a value: its bits as an unsigned and a signed integer, and the least of each that is negative or positive
# infinity; NaN is above it. Two maxima are a third of the time that np.isfinite takes.
_BITS: dict[int, tuple[type, int, type, int]] = {
    2: (np.uint16, 0xFC00, np.int16, 0x7C00),
    4: (np.uint32, 0xFF800000, np.int32, 0x7F800000),
}
# Bytes that are looked at together: they fit a core's cache.
BLOCK = 1 << 18


def to_native(values: NDArray[_Number]) -> NDArray[_Number]:
    """The same values as a plain C-contiguous array in the machine's byte order; copied only where they are not.

    The tests of finiteness look at bits: of another order or layout they would see other numbers.
    """
    return np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("="))


def all_finite(values: NDArray[np.generic]) -> bool:
    """Tell whether no value is NaN or infinite: float16 or float32, in any shape, layout and byte order."""
    flat = to_native(values).reshape(-1)
    length = BLOCK // values.itemsize
    return all(block_finite(flat[start : start + length]) for start in range(0, flat.size, length))


def block_finite(block: NDArray[np.generic]) -> bool:
    """Tell whether no value of a flat block, small enough for a cache, is NaN or infinite."""
    unsigned, negative, signed, positive = _BITS[block.itemsize]
    return bool(block.view(unsigned).max() < negative and block.view(signed).max() < positive)


class Levels(NamedTuple):
    """What int8 stands for, float32 (stream, channel): value = offset + scale · stored."""

    scale: NDArray[np.float32]
    offset: NDArray[np.float32]


def to_stored(frames: NDArray[np.floating], dtype: str) -> tuple[NDArray[np.generic], Levels | None]:
    """Bring (stream, frame, channel) floats, in any layout and byte order, into the storage type.

    Returns
    -------
    stored
        float16, float32 or int8, C-contiguous, in the machine's byte order. Floats that were of this type already are
        not looked at: writing does.
    levels
        For int8, else None.

    Raises
    ------
    StoreError
        A value is NaN, infinite or masked, or too large for float16.
    """
    if np.ma.is_masked(frames):
        raise StoreError("frames hold masked values; fill them first, nothing is stored")
    frames = to_native(frames)
    if frames.dtype == dtype:
        return frames, None
    if not all_finite(frames):
        raise StoreError("frames hold NaN or infinite values; nothing is stored")
    if dtype == "int8":
        return quantise(frames)
    with np.errstate(over="ignore"):
        stored = frames.astype(dtype)
    if not all_finite(stored):
        largest = float(np.abs(frames).max())
        raise StoreError(f"frames reach {largest:.4g}, more than float16 holds (65504); store them as float32 or int8")
    return stored, None


def quantise(frames: NDArray[np.floating]) -> tuple[NDArray[np.int8], Levels]:
    """Round each channel of each stream to 255 levels from its least to its greatest value in the record.

    The offset matters: channels of a conformer often lie far from zero, compared with how much they vary.

    Returns
    -------
    stored
        int8 (stream, frame, channel).
    levels
        The step, 1 where a channel is constant, and the middle of the range.
    """
    stored = np.empty(frames.shape, dtype=np.int8)
    levels = Levels(*np.empty((2, frames.shape[0], frames.shape[2]), dtype=np.float32))
    for stream, values in enumerate(frames):
        least, greatest = (limit(axis=0).astype(np.float64) for limit in (values.min, values.max))
        step = (greatest - least) / (2 * LEVELS)
        # Below the smallest normal number 1/step would overflow; such a channel is constant.
        levels.scale[stream] = np.where(step > np.finfo(np.float32).tiny, step, 1)
        levels.offset[stream] = (greatest + least) / 2
        steps = (values - levels.offset[stream]) / levels.scale[stream]
        np.rint(steps.clip(-LEVELS, LEVELS, out=steps), casting="unsafe", out=stored[stream])
    return stored, levels


def to_floats(stored: NDArray[np.generic], levels: Levels | None) -> NDArray[np.floating]:
    """Undo `to_stored`: float16 and float32 as they are, int8 as float32."""
    if levels is None:
        return stored  # type: ignore[return-value]
    floats = stored.astype(np.float32)
    with np.errstate(over="ignore", invalid="ignore"):  # of levels that nobody's `quantise` made
        floats *= levels.scale[:, None]
        floats += levels.offset[:, None]
    return floats


def levels_to_text(levels: Levels) -> dict[str, str]:
    """`scale` and `offset` as Base64 of little-endian float32: exact, and quick to read."""
    return {
        name: base64.b64encode(values.astype("<f4").tobytes()).decode() for name, values in levels._asdict().items()
    }


def levels_from_text(texts: Mapping[str, str], shape: tuple[int, int]) -> Levels:
    """Undo `levels_to_text`; shape is (streams, channels).

    Raises
    ------
    ValueError, KeyError, TypeError
        The texts are not finite values of this shape.
    """
    decoded = (base64.b64decode(texts[name], validate=True) for name in Levels._fields)
    levels = Levels(*(np.frombuffer(data, dtype="<f4").reshape(shape) for data in decoded))
    if not all(map(all_finite, levels)):
        raise ValueError("values are NaN or infinite")
    return levels
