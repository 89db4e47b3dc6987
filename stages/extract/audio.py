"""Audio files → mono float32 at 24 kHz: soundfile decodes, the `ffmpeg` extra decodes what it cannot, soxr resamples.

What a file must be: a regular file with at least one sample, every sample finite, at a rate that audio has. Samples are
not scaled or clipped. A peak far above full scale means that somebody wrote integers as floats, and is an error: scaled
by a guess it would be another song to the encoders.
"""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from stages.extract.audio_ffmpeg import decode_with_ffmpeg, seconds_with_ffmpeg
from stages.extract.waveform import AudioError, Waveform
from stages.songs.errors import shown

__all__ = ["SAMPLE_RATE", "AudioError", "Waveform", "probe_seconds", "read_audio", "resample"]

SAMPLE_RATE = 24_000
LOWEST_RATE, HIGHEST_RATE = 1_000, 768_000
# +18 dB over full scale: more than any decoder overshoots, far less than integers written as floats.
HIGHEST_PEAK = 8.0
# What may be missing from the end before a file counts as truncated: headers of lossy files are off by a few frames.
TRUNCATION_SECONDS = 1.0
# Several encoders write the most that fits where they do not know the length yet.
UNKNOWN_FRAMES = 1 << 40
BLOCK_SAMPLES = 1 << 21


def read_audio(path: Path) -> Waveform:
    """Decode a file and average its channels.

    Read in blocks: memory is that of the mono result, whatever the number of channels.

    Raises
    ------
    AudioError
        There is no such file, it is no regular file, is empty, may not be read, is no audio that is known here, is
        truncated, or has samples that are not finite or far above full scale.
    """
    _check_file(path)
    try:
        with _opened(path) as file:
            waveform = Waveform(_read_mono(file, path), file.samplerate)
    except _NotForSoundfile as error:
        waveform = decode_with_ffmpeg(path, str(error))
    _check_samples(waveform, path)
    return waveform


def probe_seconds(path: Path) -> float:
    """Duration in seconds as the header tells it, without decoding.

    Raises
    ------
    AudioError
        The file cannot be opened as audio, or its header does not tell.
    """
    _check_file(path)
    try:
        with _opened(path) as file:
            frames, rate = file.frames, file.samplerate
    except _NotForSoundfile as error:
        return seconds_with_ffmpeg(path, str(error))
    if frames >= UNKNOWN_FRAMES:
        raise AudioError(f"{shown(path)}: its header does not tell how long it is")
    return float(frames / rate)


def resample(waveform: Waveform, rate: int = SAMPLE_RATE) -> Waveform:
    """Change the rate with soxr's HQ filter; at the same rate the waveform itself comes back."""
    if waveform.rate == rate:
        return waveform
    samples = soxr.resample(waveform.samples, waveform.rate, rate, quality="HQ")
    return Waveform(np.asarray(samples, dtype=np.float32), rate)


class _NotForSoundfile(Exception):  # noqa: N818 - a message between two decoders, not an error yet
    """soundfile cannot open the file; another decoder may."""


def _check_file(path: Path) -> None:
    try:
        about = path.stat()
        if not stat.S_ISREG(about.st_mode):
            kind = "a folder" if stat.S_ISDIR(about.st_mode) else "no regular file"
            raise AudioError(f"{shown(path)}: is {kind}; expected an audio file")
        with path.open("rb"):
            pass
    except OSError as error:
        link = " (a link to a file that is not there)" if os.path.islink(path) else ""  # noqa: PTH114 - Path's raises on long names
        raise AudioError(f"{shown(path)}: cannot be read: {error.strerror}{link}") from error
    except ValueError as error:
        raise AudioError(f"{shown(path)}: cannot be read: {error}") from error
    if about.st_size == 0:
        raise AudioError(f"{shown(path)}: is empty (0 bytes)")


def _reason(error: soundfile.SoundFileError) -> str:
    reason = str(getattr(error, "error_string", error)).rstrip(".")
    # What libsndfile says of text named .mp3; that the file is there has been checked.
    return "Format not recognised" if reason.startswith("File does not exist") else reason


@contextmanager
def _opened(path: Path) -> Iterator[soundfile.SoundFile]:
    try:
        file = soundfile.SoundFile(os.fsencode(path))
    # TypeError: soundfile takes a file named *.raw for headerless samples, and asks for their layout.
    except (soundfile.SoundFileError, TypeError) as error:
        raise _NotForSoundfile("headerless samples" if isinstance(error, TypeError) else _reason(error)) from error
    with file:
        if not LOWEST_RATE <= file.samplerate <= HIGHEST_RATE:
            raise AudioError(
                f"{shown(path)}: expected a sample rate of {LOWEST_RATE} to {HIGHEST_RATE} Hz, found {file.samplerate}"
            )
        yield file


def _read_mono(file: soundfile.SoundFile, path: Path) -> NDArray[np.float32]:
    """All frames, averaged over channels: float32 (n,)."""
    expected = file.frames
    # As long as the header says, but it is not believed blindly: a wrong one must not take all memory at once.
    samples = np.empty(min(expected, 1 << 27), dtype=np.float32)
    filled, frames = 0, max(1, BLOCK_SAMPLES // file.channels)
    try:
        while len(block := file.read(frames, dtype="float32", always_2d=True)):
            if filled + len(block) > len(samples):
                samples.resize(max(filled + len(block), len(samples) * 3 // 2), refcheck=False)
            np.mean(block, axis=1, out=samples[filled : filled + len(block)])
            filled += len(block)
    except soundfile.SoundFileError as error:
        raise AudioError(
            f"{shown(path)}: is damaged {filled / file.samplerate:.1f} s in: {_reason(error)}; get the file again"
        ) from error
    missing = (expected - filled) / file.samplerate
    if expected < UNKNOWN_FRAMES and missing > TRUNCATION_SECONDS:
        raise AudioError(
            f"{shown(path)}: is truncated: its header says {expected / file.samplerate:.1f} s, "
            f"{filled / file.samplerate:.1f} s are there; get the file again"
        )
    samples.resize(filled, refcheck=False)
    return samples


def _check_samples(waveform: Waveform, path: Path) -> None:
    samples = waveform.samples
    if not len(samples):
        raise AudioError(f"{shown(path)}: has no samples")
    # One pass each and no copy; a NaN wins in both, an infinity in one.
    lowest, highest = float(samples.min()), float(samples.max())
    if not (np.isfinite(lowest) and np.isfinite(highest)):
        bad = ~np.isfinite(samples)
        raise AudioError(
            f"{shown(path)}: {int(bad.sum())} samples are NaN or infinite, the first "
            f"{int(bad.argmax()) / waveform.rate:.3f} s in; export the song again"
        )
    peak = max(-lowest, highest)
    if peak > HIGHEST_PEAK:
        raise AudioError(
            f"{shown(path)}: peaks at {peak:.4g}, expected about 1 at most (full scale); "
            "integers were written as floats: scale them and save again"
        )
