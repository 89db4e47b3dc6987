"""Storage types: floats ↔ what is stored. int8 keeps one scale a stream and channel of each record."""

import numpy as np
from numpy.typing import NDArray

from store.errors import StoreError

LEVELS = 127
# By size of a value: its bits as an unsigned and a signed integer, and the least of each that is negative or positive
# infinity; NaN is above it. Two maxima are a third of the time that np.isfinite takes.
_BITS: dict[int, tuple[type, int, type, int]] = {
    2: (np.uint16, 0xFC00, np.int16, 0x7C00),
    4: (np.uint32, 0xFF800000, np.int32, 0x7F800000),
}
# Bytes that are looked at together: they fit a core's cache.
BLOCK = 1 << 18


def all_finite(values: NDArray[np.generic]) -> bool:
    """Tell whether no value is NaN or infinite: float16 or float32, C-contiguous, any shape."""
    flat = values.reshape(-1)
    length = BLOCK // values.itemsize
    return all(block_finite(flat[start : start + length]) for start in range(0, flat.size, length))


def block_finite(block: NDArray[np.generic]) -> bool:
    """Tell whether no value of a flat block, small enough for a cache, is NaN or infinite."""
    unsigned, negative, signed, positive = _BITS[block.itemsize]
    return bool(block.view(unsigned).max() < negative and block.view(signed).max() < positive)


def to_stored(frames: NDArray[np.floating], dtype: str) -> tuple[NDArray[np.generic], NDArray[np.float32] | None]:
    """Bring (stream, frame, channel) floats into the storage type.

    Returns
    -------
    stored
        float16, float32 or int8, C-contiguous. Floats that were of this type already are not looked at: writing does.
    scale
        For int8: float32 (stream, channel), value = scale · stored; else None.

    Raises
    ------
    StoreError
        A value is NaN or infinite, or too large for float16.
    """
    frames = np.ascontiguousarray(frames)
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


def quantise(frames: NDArray[np.floating]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Round each channel of each stream to 255 levels between ± its largest magnitude in the record.

    Returns
    -------
    stored
        int8 (stream, frame, channel).
    scale
        float32 (stream, channel): the step; 1 where a channel is all zeros.
    """
    stored = np.empty(frames.shape, dtype=np.int8)
    scale = np.empty((frames.shape[0], frames.shape[2]), dtype=np.float32)
    for stream, values in enumerate(frames):
        step = np.abs(values).max(axis=0).astype(np.float32) / np.float32(LEVELS)
        # Below the smallest normal number 1/step would overflow; such a channel is silence.
        scale[stream] = np.where(step > np.finfo(np.float32).tiny, step, np.float32(1))
        np.rint(values.astype(np.float32) / scale[stream], casting="unsafe", out=stored[stream])
    return stored, scale


def to_floats(stored: NDArray[np.generic], scale: NDArray[np.float32] | None) -> NDArray[np.floating]:
    """Undo `to_stored`: float16 and float32 as they are, int8 as float32; scale is (stream, channel)."""
    if scale is None:
        return stored  # type: ignore[return-value]
    floats = stored.astype(np.float32)
    floats *= scale[:, None, :]
    return floats
