"""Audio files → mono float32: PyAV decodes, soxr resamples, block by block.

What a file must be: a regular file with at least one sample, every sample finite, at a rate that audio has. Samples are
not scaled or clipped. A peak far above full scale means that somebody wrote integers as floats, and is an error: scaled
by a guess it would be another song to the encoders.

All that is in a file is heard. Where its header promises more, or packets cannot be decoded, the waveform says so. A
file that lacks more than a tenth is refused, since it is no longer the song that people rated.
"""

import os
import stat
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import soxr
from numpy.typing import NDArray

from stages.extract.audio.decoder import Losses, open_audio
from stages.extract.audio.waveform import DAMAGE, AudioError, TooLongError, Waveform
from stages.songs.errors import shown

__all__ = [
    "SAMPLE_RATE",
    "AudioError",
    "TooLongError",
    "Waveform",
    "probe_seconds",
    "read_audio",
    "resample",
]

SAMPLE_RATE = 24_000
LOWEST_RATE, HIGHEST_RATE = 1_000, 768_000
# A file's own rate is kept up to here, for augmentation: an hour of mono is 1.4 GB.
HIGHEST_OWN_RATE = 96_000
# +18 dB over full scale: more than any decoder overshoots, far less than integers written as floats.
HIGHEST_PEAK = 8.0
# Samples of all channels that a second of audio may cost where the length is limited: stereo at 192 kHz, or eight
# channels at 48 kHz.
MOST_VALUES = 384_000
# Share of a song that may be missing or undecodable before the file is refused.
LARGEST_LOSS = 0.1


def read_audio(path: Path, *, rate: int | None = None, longest: float | None = None) -> Waveform:
    """Decode a file, average its channels and resample it, as it goes: memory is that of the result.

    Parameters
    ----------
    path
        The file; its content decides what it is, not its name.
    rate
        In Hz. None keeps the file's own (the first one, if it changes midway), up to 96,000 Hz; files above that are
        brought down to it.
    longest
        Stop with `TooLongError` when there are more seconds than this, or more samples in all channels than so many
        seconds have at `MOST_VALUES`: the work that a file costs is limited, too.

    Raises
    ------
    AudioError
        The file is missing, not a regular file, empty, not readable, or not audio that FFmpeg decodes here; it lacks
        more than a tenth of what its header promises; or it has samples that are not finite or far above full scale.
    """
    _check_file(path)
    with open_audio(path) as file:
        heard = _Heard(path, rate, longest)
        for block, own_rate in file.blocks():
            heard.add(block, own_rate)
            if longest is not None and file.values > longest * MOST_VALUES:
                raise TooLongError(
                    f"{shown(path)}: has more than {longest * MOST_VALUES:.3g} samples in all channels, the most "
                    "allowed; save it in stereo at 48,000 Hz"
                )
        samples = heard.finish()
        losses = file.losses(heard.seconds)
    _check_losses(path, heard.seconds, losses)
    return Waveform(samples, heard.rate, damage=_damage(losses))


def probe_seconds(path: Path) -> float:
    """Duration in seconds of what is in the file, from the lengths of its packets, decoded where they do not tell.

    Raises
    ------
    AudioError
        The file cannot be opened as audio.
    """
    _check_file(path)
    with open_audio(path) as file:
        seconds = file.packet_seconds()
    if seconds is not None:
        return seconds
    with open_audio(path) as file:
        return sum(len(block) / rate for block, rate in file.blocks())


def resample(waveform: Waveform, rate: int = SAMPLE_RATE) -> Waveform:
    """Change the rate with soxr's HQ filter; at the same rate the waveform itself comes back."""
    if waveform.rate == rate:
        return waveform
    samples = soxr.resample(waveform.samples, waveform.rate, rate, quality="HQ")
    return replace(waveform, samples=np.asarray(samples, dtype=np.float32), rate=rate)


def _check_file(path: Path) -> None:
    try:
        about = path.stat()
        if not stat.S_ISREG(about.st_mode):
            kind = "a folder" if stat.S_ISDIR(about.st_mode) else "not a regular file"
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


class _Heard:
    """Collects blocks at one rate, and checks every sample.

    `seconds` is the duration so far at the rates that the blocks had, `rate` the one they are brought to.
    """

    def __init__(self, path: Path, rate: int | None, longest: float | None) -> None:
        self.rate, self.seconds = rate or 0, 0.0
        self._path, self._longest = path, longest
        self._own_rate = 0
        self._resampler: soxr.ResampleStream | None = None
        self._samples, self._filled = np.empty(0, np.float32), 0
        self._bad, self._first_bad, self._peak = 0, 0.0, 0.0

    def add(self, block: NDArray[np.float32], own_rate: int) -> None:
        """Take samples (n,) at `own_rate`. Raises AudioError where they are too many or their rate is not audio's."""
        if own_rate != self._own_rate:
            self._change_rate(own_rate)
        self._check(block)
        self.seconds += len(block) / own_rate
        if self._longest is not None and self.seconds > self._longest:
            raise TooLongError(f"{shown(self._path)}: is longer than {self._longest / 60:g} min, the longest allowed")
        self._append(block if self._resampler is None else self._resampler.resample_chunk(block))

    def finish(self) -> NDArray[np.float32]:
        """All samples, float32 (n,). Raises AudioError for samples that are NaN, infinite or far too large."""
        self._flush()
        if self._bad:
            raise AudioError(
                f"{shown(self._path)}: {self._bad} samples are NaN or infinite, the first {self._first_bad:.3f} s in; "
                "export the song again"
            )
        if self._peak > HIGHEST_PEAK:
            raise AudioError(
                f"{shown(self._path)}: peaks at {self._peak:.4g}, expected about 1 at most (full scale); "
                "it is damaged, or integers were written as floats: export the song again"
            )
        self._samples.resize(self._filled, refcheck=False)
        return self._samples

    def _change_rate(self, own_rate: int) -> None:
        if not LOWEST_RATE <= own_rate <= HIGHEST_RATE:
            raise AudioError(
                f"{shown(self._path)}: expected a sample rate of {LOWEST_RATE} to {HIGHEST_RATE} Hz, found {own_rate}"
            )
        self._flush()
        self._own_rate = own_rate
        self.rate = self.rate or min(own_rate, HIGHEST_OWN_RATE)
        if own_rate != self.rate:
            self._resampler = soxr.ResampleStream(own_rate, self.rate, 1, dtype="float32", quality="HQ")

    def _flush(self) -> None:
        if self._resampler is not None:
            self._append(self._resampler.resample_chunk(np.empty(0, np.float32), last=True))
            self._resampler = None

    def _check(self, block: NDArray[np.float32]) -> None:
        # One pass each and no copy; a NaN wins in both, an infinity in one.
        lowest, highest = float(block.min()), float(block.max())
        if np.isfinite(lowest) and np.isfinite(highest):
            self._peak = max(self._peak, -lowest, highest)
            return
        bad = ~np.isfinite(block)
        if not self._bad:
            self._first_bad = self.seconds + int(bad.argmax()) / self._own_rate
        self._bad += int(bad.sum())

    def _append(self, samples: NDArray[np.float32]) -> None:
        wanted = self._filled + len(samples)
        if wanted > len(self._samples):
            # Memory that is not touched yet costs nothing, and growing moves pages rather than samples.
            self._samples.resize(max(wanted, len(self._samples) * 3 // 2), refcheck=False)
        self._samples[self._filled : wanted] = samples
        self._filled = wanted


def _damage(losses: Losses) -> dict[str, Any]:
    found = zip(DAMAGE, (losses.truncated, round(losses.missing, 3), losses.skipped), strict=True)
    return {name: value for name, value in found if value}


def _check_losses(path: Path, seconds: float, losses: Losses) -> None:
    where, again = shown(path), "get the file again"
    if not seconds and losses.skipped:
        raise AudioError(f"{where}: is damaged: nothing in it can be decoded; {again}")
    if not seconds:
        raise AudioError(f"{where}: has no samples")
    if losses.share > LARGEST_LOSS:
        raise AudioError(f"{where}: is damaged: {100 * losses.share:.0f} % of it cannot be decoded; {again}")
    if losses.missing > LARGEST_LOSS * (seconds + losses.missing):
        raise AudioError(
            f"{where}: is truncated or damaged: its header says {seconds + losses.missing:.1f} s, "
            f"{seconds:.1f} s can be heard; {again}, or encode it again if it is meant to be so short"
        )
