"""Formats that soundfile does not read (m4a, wma, …), through torchcodec and FFmpeg's libraries: the extra `ffmpeg`."""

import re
from pathlib import Path
from typing import Any

import numpy as np

from stages.extract.waveform import AudioError, Waveform
from stages.songs.errors import shown


def decode_with_ffmpeg(path: Path, refusal: str) -> Waveform:
    """Decode a file and average its channels; `refusal` is why soundfile did not.

    Raises
    ------
    AudioError
        torchcodec or FFmpeg's libraries are not installed, or FFmpeg does not read the file either.
    """
    decoder = _decoder(path, refusal)
    try:
        decoded = decoder.get_all_samples()
    except (RuntimeError, ValueError) as error:
        raise AudioError(f"{shown(path)}: is damaged: {_reason(error, path)}; get the file again") from error
    # (channels, n) → (n,)
    return Waveform(decoded.data.mean(dim=0).numpy().astype(np.float32, copy=False), int(decoded.sample_rate))


def seconds_with_ffmpeg(path: Path, refusal: str) -> float:
    """Duration in seconds as the header tells it.

    Raises
    ------
    AudioError
        As `decode_with_ffmpeg`, or the header does not tell.
    """
    seconds = _decoder(path, refusal).metadata.duration_seconds_from_header
    if seconds is None:
        raise AudioError(f"{shown(path)}: its header does not tell how long it is")
    return float(seconds)


def _decoder(path: Path, refusal: str) -> Any:
    try:
        from torchcodec.decoders import AudioDecoder
    except ImportError as error:
        raise AudioError(
            f"{shown(path)}: soundfile does not read it ({refusal}); if it is audio, install the extra that does: "
            "pip install 'hear-music[ffmpeg]'"
        ) from error
    except (RuntimeError, OSError) as error:
        raise AudioError(
            f"{shown(path)}: soundfile does not read it ({refusal}); if it is audio, torchcodec needs FFmpeg's shared "
            "libraries, version 4 to 8, which are not on this machine: install the system package ffmpeg"
        ) from error
    try:
        return AudioDecoder(path)
    except (RuntimeError, ValueError) as error:
        raise AudioError(
            f"{shown(path)}: is no audio that soundfile ({refusal}) or FFmpeg ({_reason(error, path)}) reads"
        ) from error


def _reason(error: Exception, path: Path) -> str:
    """The first line of FFmpeg's message, without the place in torchcodec's sources and without the path."""
    line = str(error).strip().split("\n")[0]
    return re.sub(r"^.*\.cpp:\d+, ", "", line).replace(f": {path} ", ": ").strip(" .")
