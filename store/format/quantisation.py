"""Storage types: floats ↔ stored values. int8 has one scale and offset per stream and channel of each record."""

import base64
from collections.abc import Mapping
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from store.errors import StoreError

_Number = TypeVar("_Number", bound=np.generic)

LEVELS = 127
# The smallest number that float16 rounds to infinity.
TOO_LARGE = 65_520.0
# Bytes per value → unsigned integer type and the bits of negative infinity in it, signed type and those of positive
# infinity; the bits of NaN are larger. Comparing two maxima takes a third of the time of np.isfinite.
_BITS: dict[int, tuple[type, int, type, int]] = {
    2: (np.uint16, 0xFC00, np.int16, 0x7C00),
    4: (np.uint32, 0xFF800000, np.int32, 0x7F800000),
}
# Bytes that are checked together: they fit into a core's cache.
BLOCK = 1 << 18


def to_native(values: NDArray[_Number]) -> NDArray[_Number]:
    """The same values as a C-contiguous array in the machine's byte order; copied only if needed.

    The finiteness checks compare bits, so they need this order and layout.
    """
    return np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("="))


def all_finite(values: NDArray[np.generic]) -> bool:
    """Whether no value is NaN or infinite: float16 or float32, in any shape, layout and byte order."""
    flat = to_native(values).reshape(-1)
    length = BLOCK // values.itemsize
    return all(block_finite(flat[start : start + length]) for start in range(0, flat.size, length))


def block_finite(block: NDArray[np.generic]) -> bool:
    """Whether no value of a flat block, small enough for a cache, is NaN or infinite."""
    unsigned, negative, signed, positive = _BITS[block.itemsize]
    return bool(block.view(unsigned).max() < negative and block.view(signed).max() < positive)


class Levels(NamedTuple):
    """The levels of int8 codes, float32 (stream, channel): value = offset + scale · code."""

    scale: NDArray[np.float32]
    offset: NDArray[np.float32]


def to_stored(frames: NDArray[np.floating], dtype: str) -> tuple[NDArray[np.generic], Levels | None]:
    """Convert (stream, frame, channel) floats, in any layout and byte order, to the storage type.

    Returns
    -------
    stored
        float16, float32 or int8, C-contiguous, in the machine's byte order. Floats that have this type already are not
        checked here but when they are written.
    levels
        For int8, else None.

    Raises
    ------
    StoreError
        A value is NaN, infinite, masked, or too large for float16.
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
        check_range(float(np.abs(frames).max()), dtype)
    return stored, None


def check_range(largest: float, dtype: str) -> None:
    """Check that a value of this magnitude does not become infinite in the storage type; raises StoreError."""
    if dtype == "float16" and largest >= TOO_LARGE:
        raise StoreError(f"frames reach {largest:.4g}, more than float16 holds (65504); store them as float32 or int8")


def quantise(frames: NDArray[np.floating]) -> tuple[NDArray[np.int8], Levels]:
    """Round each channel of each stream to 255 levels between its minimum and maximum in the record.

    The offset matters: a conformer's channels are often far from zero compared with their spread.

    Returns
    -------
    stored
        int8 (stream, frame, channel).
    levels
        The step (1 for a constant channel) and the middle of the range.
    """
    stored = np.empty(frames.shape, dtype=np.int8)
    levels = Levels(*np.empty((2, frames.shape[0], frames.shape[2]), dtype=np.float32))
    for stream, values in enumerate(frames):
        least, greatest = (limit(axis=0).astype(np.float64) for limit in (values.min, values.max))
        step = (greatest - least) / (2 * LEVELS)
        # Below the smallest normal number, 1/step would overflow; such a channel counts as constant.
        levels.scale[stream] = np.where(step > np.finfo(np.float32).tiny, step, 1)
        levels.offset[stream] = (greatest + least) / 2
        steps = (values - levels.offset[stream]) / levels.scale[stream]
        np.rint(steps.clip(-LEVELS, LEVELS, out=steps), casting="unsafe", out=stored[stream])
    return stored, levels


def to_floats(stored: NDArray[np.generic], levels: Levels | None) -> NDArray[np.floating]:
    """Undo `to_stored`: float16 and float32 unchanged, int8 as float32."""
    if levels is None:
        return stored  # type: ignore[return-value]
    floats = stored.astype(np.float32)
    with np.errstate(over="ignore", invalid="ignore"):  # untrusted levels
        floats *= levels.scale[:, None]
        floats += levels.offset[:, None]
    return floats


def levels_to_text(levels: Levels) -> dict[str, str]:
    """`scale` and `offset` as Base64 of little-endian float32: exact and fast to read."""
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
