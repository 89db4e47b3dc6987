"""Raw float32 samples in a request's body → a WAV file, which is scored like any other."""

import struct
from collections.abc import AsyncIterator
from dataclasses import dataclass

import numpy as np
from starlette.datastructures import Headers

from stages.extract.audio.decoder import MOST_CHANNELS
from stages.extract.audio.reading import HIGHEST_RATE, LOWEST_RATE
from stages.scoring.service.limits import RefusedError
from stages.scoring.service.uploads import Upload

SAMPLES_TYPE = "audio/x-float32"
RATE_HEADER, CHANNELS_HEADER = "X-Sample-Rate", "X-Channels"
# A WAV file counts its bytes in 32 bits.
_LARGEST = 2**32 - 100
# RIFF, then the chunks `fmt ` (IEEE float, with an extension of 0 bytes), `fact` (the frames) and `data`.
_WAV = struct.Struct("<4sI4s 4sIHHIIHHH 4sII 4sI")


@dataclass(frozen=True)
class SampleFormat:
    """The format of raw samples: float32, little-endian, interleaved."""

    rate: int
    channels: int

    async def write(self, blocks: AsyncIterator[bytes], upload: Upload) -> None:
        """Write samples as a float WAV file.

        Raises
        ------
        RefusedError
            413: more than a WAV file can hold; 422: no samples, part of a frame, or a sample that is not finite.
        """
        upload.write(self._header(0))
        rest, size = b"", 0
        async for block in blocks:
            upload.write(block)
            size += len(block)
            if size > _LARGEST:
                raise RefusedError(413, "the samples are larger than 4 GB; send a compressed file")
            rest += block
            whole = len(rest) // 4 * 4
            if not np.isfinite(np.frombuffer(rest[:whole], "<f4")).all():
                raise RefusedError(422, "the samples are not all finite; replace NaN and infinity before you send them")
            rest = rest[whole:]
        if not size:
            raise RefusedError(422, "the upload is empty; send samples")
        frame = 4 * self.channels
        if size % frame:
            raise RefusedError(
                422,
                f"the samples end within a frame: expected a multiple of {frame} bytes (float32, "
                f"{CHANNELS_HEADER}: {self.channels}), found {size} bytes",
            )
        upload.replace_start(self._header(size))

    def _header(self, size: int) -> bytes:
        """The beginning of a WAV file with `size` bytes of samples."""
        frame = 4 * self.channels
        form = (b"fmt ", 18, 3, self.channels, self.rate, self.rate * frame, frame, 32, 0)
        return _WAV.pack(b"RIFF", _WAV.size - 8 + size, b"WAVE", *form, b"fact", 4, size // frame, b"data", size)


def sample_format(headers: Headers, kind: str) -> SampleFormat | None:
    """The format of a body with this media type; None if it is a file.

    Raises
    ------
    RefusedError
        422: the headers of raw samples are missing or wrong, or are sent with a file.
    """
    if kind != SAMPLES_TYPE:
        if RATE_HEADER in headers or CHANNELS_HEADER in headers:
            names = f"{RATE_HEADER} and {CHANNELS_HEADER}"
            raise RefusedError(422, f"{names} are only for raw samples; send them as Content-Type: {SAMPLES_TYPE}")
        return None
    return SampleFormat(
        _number(headers, RATE_HEADER, LOWEST_RATE, HIGHEST_RATE, "Hz"),
        _number(headers, CHANNELS_HEADER, 1, MOST_CHANNELS, "channels", default="1"),
    )


def _number(headers: Headers, name: str, least: int, most: int, unit: str, *, default: str = "nothing") -> int:
    text = headers.get(name, default).strip()
    if not (text.isascii() and text.isdecimal() and len(text) < 10 and least <= int(text) <= most):
        raise RefusedError(422, f"{name}: expected a whole number of {unit} from {least} to {most}, found {text[:40]}")
    return int(text)
