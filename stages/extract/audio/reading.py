"""Audio files → mono float32: PyAV decodes, soxr resamples, block by block.

A file must be a regular file with at least one sample, only finite samples and a plausible rate. Samples are neither
scaled nor clipped. A peak far above full scale is an error: integers were probably written as floats, and any guess at
their scale would change the encoders' output.

The whole file is decoded. If it is shorter than its header declares, or packets cannot be decoded, the waveform's
`damage` says so. A file that lacks more than a tenth is refused, because it is not the song that people rated.
"""

import os
import stat
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import soxr
from numpy.typing import NDArray

from stages.extract.audio.decoder import BLOCK_SAMPLES, Losses, full_scale, mean_of_channels, open_audio
from stages.extract.audio.waveform import DAMAGE, AudioError, TooLongError, Waveform
from stages.songs.errors import shown

__all__ = [
    "SAMPLE_RATE",
    "AudioError",
    "TooLongError",
    "Waveform",
    "probe_seconds",
    "read_array",
    "read_audio",
    "read_channels",
    "read_rates",
    "resample",
]

SAMPLE_RATE = 24_000
LOWEST_RATE, HIGHEST_RATE = 1_000, 768_000
# Highest rate that is kept for augmentation; one hour of mono is 1.4 GB.
HIGHEST_OWN_RATE = 96_000
# +18 dB over full scale: more than any decoder overshoots, much less than integers written as floats.
HIGHEST_PEAK = 8.0
# Limit for samples of all channels per second of allowed length: stereo at 192 kHz, or eight channels at 48 kHz.
MOST_VALUES = 384_000
# Remedies for samples that are not finite, and for samples far above full scale.
FILE_REMEDIES = (
    "export the song again",
    "the file is damaged, or integers were written as floats: export the song again",
)
ARRAY_REMEDIES = ("replace them", "divide integers that were converted to floats by their full scale, such as 32768")
# Fraction of a song that may be missing or undecodable before the file is refused.
LARGEST_LOSS = 0.1


def read_audio(path: Path, *, rate: int | None = None, longest: float | None = None) -> Waveform:
    """Decode a file at one rate; see `read_rates`."""
    (waveform,) = read_rates(path, (rate,), longest=longest)
    return waveform


def read_rates(path: Path, rates: Sequence[int | None], *, longest: float | None = None) -> tuple[Waveform, ...]:
    """Decode a file once, average its channels and resample it to each rate, block by block.

    Memory is that of the results.

    Parameters
    ----------
    path
        The file. Its format is detected from the content, not from the name.
    rates
        In Hz. None keeps the file's own rate (the first, if it changes), up to 96,000 Hz; higher rates are resampled to
        that.
    longest
        Limit in seconds: raise `TooLongError` for a longer file, or for one with more samples in all channels than
        `MOST_VALUES` per allowed second, which also limits the computation.

    Raises
    ------
    AudioError
        The file is missing, not a regular file, empty, not readable, or not audio that FFmpeg can decode; it lacks more
        than a tenth of its declared length; or it has samples that are not finite or far above full scale.
    """
    _check_file(path)
    with open_audio(path) as file:
        song = _Song(f"{shown(path)}: ", rates, longest)
        for block, own_rate in file.blocks():
            song.add(block, own_rate, values=file.values)
        results = song.finish()
        losses = file.losses(song.seconds)
    _check_losses(path, song.seconds, losses)
    return tuple(Waveform(result.finish(), result.rate, damage=_damage(losses)) for result in results)


def read_array(values: NDArray[Any], rate: int, *, longest: float | None = None) -> Waveform:
    """Average the channels of samples in memory and resample them: bit for bit as for a WAV file with these samples.

    Parameters
    ----------
    values
        (n, channels), n ≥ 1; floats with full scale at ±1, or integers at full scale, of a type that WAV files have.
    rate
        In Hz.
    longest
        See `read_rates`.

    Returns
    -------
    Waveform
        At 24 kHz.

    Raises
    ------
    AudioError
        The rate is implausible, or samples are not finite or far above full scale; `TooLongError` as `read_rates`.
    """
    song = _Song("", (SAMPLE_RATE,), longest, ARRAY_REMEDIES)
    for first in range(0, len(values), BLOCK_SAMPLES):
        block = values[first : first + BLOCK_SAMPLES]
        song.add(mean_of_channels(block.T), rate, values=first * values.shape[1] + block.size)
    (result,) = song.finish()
    return Waveform(result.finish(), result.rate)


def read_channels(path: Path) -> tuple[NDArray[np.float32], int, dict[str, Any]]:
    """Decode a file with all its channels: float32 (channel, n), the rate in Hz, and the damage as in `Waveform`.

    Raises
    ------
    AudioError
        As `read_rates`; or rate or channels change within the file.
    """
    _check_file(path)
    with open_audio(path) as file:
        checks, blocks, kinds = _Song(f"{shown(path)}: ", (), None), list[NDArray[np.float32]](), set[tuple[int, int]]()
        for values, rate in file.channel_blocks():
            block = full_scale(values.astype(np.float64), values.dtype)
            checks.add(block.mean(axis=0), rate, values=file.values)
            blocks.append(block)
            kinds.add((len(block), rate))
        checks.finish()
        losses = file.losses(checks.seconds)
    _check_losses(path, checks.seconds, losses)
    if len(kinds) > 1:
        raise AudioError(f"{shown(path)}: its rate or channels change; expected one format, so encode the song again")
    return np.concatenate(blocks, axis=1), kinds.pop()[1], _damage(losses)


def probe_seconds(path: Path) -> float:
    """Duration in seconds of the audio in a file, from the lengths of its packets or else by decoding them.

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


def resample(waveform: Waveform, rate: int = SAMPLE_RATE, *, speed: float = 1.0) -> Waveform:
    """Resample with soxr's HQ filter. At the same rate and speed the waveform itself is returned.

    `speed` plays the song faster by this factor, which shortens it and raises its pitch, like a tape.
    """
    if waveform.rate * speed == rate:
        return waveform
    samples = soxr.resample(waveform.samples, waveform.rate * speed, rate, quality="HQ")
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
        link = " (a broken link)" if os.path.islink(path) else ""  # noqa: PTH114 - Path's raises on long names
        raise AudioError(f"{shown(path)}: cannot be read: {error.strerror}{link}") from error
    except ValueError as error:
        raise AudioError(f"{shown(path)}: cannot be read: {error}") from error
    if about.st_size == 0:
        raise AudioError(f"{shown(path)}: is empty (0 bytes)")


class _Song:
    """Checks every block of a song and collects it at each rate. `seconds` is the duration so far.

    `where` begins the message of an error.
    """

    def __init__(
        self,
        where: str,
        rates: Sequence[int | None],
        longest: float | None,
        remedies: tuple[str, str] = FILE_REMEDIES,
    ) -> None:
        self.seconds = 0.0
        self._where, self._longest, self._remedies = where, longest, remedies
        self._results = [_Samples(rate) for rate in rates]
        self._own_rate = 0
        self._bad, self._first_bad, self._peak = 0, 0.0, 0.0

    def add(self, block: NDArray[np.float32], own_rate: int, *, values: int) -> None:
        """Add samples (n,) at `own_rate`; `values` counts the samples of all channels so far.

        Raises AudioError if there are too many or their rate is implausible.
        """
        if not LOWEST_RATE <= own_rate <= HIGHEST_RATE:
            raise AudioError(
                f"{self._where}expected a sample rate of {LOWEST_RATE} to {HIGHEST_RATE} Hz, found {own_rate}"
            )
        self._own_rate = own_rate
        self._check(block)
        self.seconds += len(block) / own_rate
        if self._longest is not None and self.seconds > self._longest:
            raise TooLongError(f"{self._where}is longer than {self._longest / 60:g} min, the longest allowed")
        for result in self._results:
            result.add(block, own_rate)
        if self._longest is not None and values > self._longest * MOST_VALUES:
            raise TooLongError(
                f"{self._where}has more than {self._longest * MOST_VALUES:.3g} samples in all channels, the most "
                "allowed; save it in stereo at 48,000 Hz"
            )

    def finish(self) -> "list[_Samples]":
        """The samples at each rate. Raises AudioError if some are NaN, infinite or far too large."""
        if self._bad:
            raise AudioError(
                f"{self._where}{self._bad} samples are NaN or infinite, first at {self._first_bad:.3f} s; "
                f"{self._remedies[0]}"
            )
        if self._peak > HIGHEST_PEAK:
            raise AudioError(
                f"{self._where}peaks at {self._peak:.4g}, expected at most about 1 (full scale); {self._remedies[1]}"
            )
        return self._results

    def _check(self, block: NDArray[np.float32]) -> None:
        # One pass each without a copy; a NaN shows in both, an infinity in one.
        lowest, highest = float(block.min()), float(block.max())
        if np.isfinite(lowest) and np.isfinite(highest):
            self._peak = max(self._peak, -lowest, highest)
            return
        bad = ~np.isfinite(block)
        if not self._bad:
            self._first_bad = self.seconds + int(bad.argmax()) / self._own_rate
        self._bad += int(bad.sum())


class _Samples:
    """Collects blocks at one rate, `rate`; None takes that of the first block, up to `HIGHEST_OWN_RATE`."""

    def __init__(self, rate: int | None) -> None:
        self.rate = rate or 0
        self._own_rate = 0
        self._resampler: soxr.ResampleStream | None = None
        self._samples, self._filled = np.empty(0, np.float32), 0

    def add(self, block: NDArray[np.float32], own_rate: int) -> None:
        """Add samples (n,) at `own_rate`."""
        if own_rate != self._own_rate:
            self._flush()
            self._own_rate = own_rate
            self.rate = self.rate or min(own_rate, HIGHEST_OWN_RATE)
            if own_rate != self.rate:
                self._resampler = soxr.ResampleStream(own_rate, self.rate, 1, dtype="float32", quality="HQ")
        self._append(block if self._resampler is None else self._resampler.resample_chunk(block))

    def finish(self) -> NDArray[np.float32]:
        """All samples, float32 (n,)."""
        self._flush()
        self._samples.resize(self._filled, refcheck=False)
        return self._samples

    def _flush(self) -> None:
        if self._resampler is not None:
            self._append(self._resampler.resample_chunk(np.empty(0, np.float32), last=True))
            self._resampler = None

    def _append(self, samples: NDArray[np.float32]) -> None:
        wanted = self._filled + len(samples)
        if wanted > len(self._samples):
            # Untouched memory costs nothing, and growing moves pages instead of copying samples.
            self._samples.resize(max(wanted, len(self._samples) * 3 // 2), refcheck=False)
        self._samples[self._filled : wanted] = samples
        self._filled = wanted


def _damage(losses: Losses) -> dict[str, Any]:
    found = zip(DAMAGE, (losses.truncated, round(losses.missing, 3), losses.skipped), strict=True)
    return {name: value for name, value in found if value}


def _check_losses(path: Path, seconds: float, losses: Losses) -> None:
    where, again = shown(path), "get the file again"
    if not seconds and losses.skipped:
        raise AudioError(f"{where}: is damaged: no packet can be decoded; {again}")
    if not seconds:
        raise AudioError(f"{where}: has no samples; {again}")
    if losses.share > LARGEST_LOSS:
        raise AudioError(f"{where}: is damaged: {100 * losses.share:.0f} % of it cannot be decoded; {again}")
    if losses.missing > LARGEST_LOSS * (seconds + losses.missing):
        raise AudioError(
            f"{where}: is truncated or damaged: expected {seconds + losses.missing:.1f} s by its header, "
            f"decoded {seconds:.1f} s; {again}, or encode it again if the shorter length is correct"
        )
