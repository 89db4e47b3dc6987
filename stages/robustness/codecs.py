"""Encode and decode in memory with PyAV. Samples are float32 (channel, n); see `stages.robustness.changes.Apply`.

The containers (MP3 with its Xing header, Ogg, MP4) record an encoder's delay, so that the decoded song begins where
the original does. It is cut or padded to the original length. Songs with more than two channels become mono.
"""

from io import BytesIO
from typing import Any

import av
import numpy as np
import soxr
from numpy.typing import NDArray

Samples = NDArray[np.float32]
# Up to this bit rate, MP3 is encoded at 24 kHz, as LAME itself does: MPEG-1 has no lower rates per stereo channel.
MP3_LOW, MP3_RATES = 32, (24_000, 44_100)
OPUS_RATE, AAC_RATE = 48_000, 44_100
BLOCK = 1 << 16


def flac(samples: Samples, rate: int, strength: float, generator: np.random.Generator) -> Samples:
    """Round to `strength` bits (16 or 24), encode as FLAC and decode. Samples beyond full scale are clipped."""
    kind, width = ("s16", 16) if strength == 16 else ("s32", 32)
    # FFmpeg's encoder stores the upper 24 bits of s32.
    step = 2.0 ** (strength - 1)
    samples = _narrow(samples)
    whole = np.clip(np.rint(samples.astype(np.float64) * step), -step, step - 1)
    values = (whole.astype(np.int64) << (width - int(strength))).astype(f"i{width // 8}")
    return _through(values, rate, codec="flac", container="flac", kind=kind)


def mp3(samples: Samples, rate: int, strength: float, generator: np.random.Generator) -> Samples:
    """Encode at `strength` kbit/s with LAME, and decode."""
    return _lossy(samples, rate, strength, codec="libmp3lame", container="mp3", at=MP3_RATES[strength > MP3_LOW])


def opus(samples: Samples, rate: int, strength: float, generator: np.random.Generator) -> Samples:
    """Encode at `strength` kbit/s with libopus, and decode."""
    return _lossy(samples, rate, strength, codec="libopus", container="ogg", at=OPUS_RATE)


def aac(samples: Samples, rate: int, strength: float, generator: np.random.Generator) -> Samples:
    """Encode at `strength` kbit/s with FFmpeg's AAC-LC encoder, and decode."""
    return _lossy(samples, rate, strength, codec="aac", container="mp4", at=AAC_RATE)


def _lossy(samples: Samples, rate: int, kilobits: float, *, codec: str, container: str, at: int) -> Samples:
    """Resample to the codec's rate, encode, decode, and resample back."""
    samples = _narrow(samples)
    resampled = soxr.resample(samples.T, rate, at, quality="HQ").T if rate != at else samples
    kind = "flt" if codec == "libopus" else "fltp"
    decoded = _through(resampled, at, codec=codec, container=container, kind=kind, bit_rate=round(kilobits * 1000))
    back = soxr.resample(decoded.T, at, rate, quality="HQ").T if rate != at else decoded
    return _cut(np.asarray(back, np.float32), samples.shape[1])


def _through(values: NDArray[Any], rate: int, *, codec: str, container: str, kind: str, bit_rate: int = 0) -> Samples:
    """Encode (channel, n) in memory and decode."""
    file = BytesIO()
    with av.open(file, "w", format=container) as out:
        stream: Any = out.add_stream(codec, rate=rate, layout="stereo" if len(values) == 2 else "mono", format=kind)
        if bit_rate:
            stream.bit_rate = bit_rate
        for start in range(0, values.shape[1], BLOCK):
            block = values[:, start : start + BLOCK]
            shaped = block if kind.endswith("p") else block.T.reshape(1, -1)
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(shaped), format=kind, layout=stream.layout.name)
            frame.sample_rate, frame.pts = rate, start
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    file.seek(0)
    with av.open(file, "r") as read:
        blocks = [np.asarray(_floats(frame)) for frame in read.decode(audio=0)]
    return _cut(np.concatenate(blocks, axis=1), values.shape[1])


def _narrow(samples: Samples) -> Samples:
    return samples if len(samples) <= 2 else np.asarray(samples.mean(axis=0, keepdims=True))


def _floats(frame: Any) -> Samples:
    """A decoded frame as (channel, n), full scale at ±1."""
    values = frame.to_ndarray()
    if not frame.format.is_planar:
        values = values.reshape(-1, frame.layout.nb_channels).T
    scale = 1 << (8 * values.itemsize - 1) if values.dtype.kind == "i" else 1
    return np.asarray(values / np.float32(scale), np.float32)


def _cut(samples: Samples, count: int) -> Samples:
    return np.pad(samples[:, :count], ((0, 0), (0, max(0, count - samples.shape[1])))).astype(np.float32)
