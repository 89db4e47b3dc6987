"""Changes that make a recording worse. Samples are float32 (channel, n); see `stages.robustness.changes.Apply`."""

import math

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.float32]
# Order of the Butterworth filters, applied forwards and backwards: 96 dB per octave, without a delay.
ORDER = 8
TELEPHONE_HZ = (300.0, 3_400.0)
# Rates of speed variation: a record of 33⅓ turns per minute, and a tape's capstan.
WOW_HZ, FLUTTER_HZ = 0.55, 6.0
GAP_SECONDS, FADE_SECONDS = 0.1, 0.005


def clipping(samples: Samples, rate: int, strength: float, generator: np.random.Generator) -> Samples:
    """Clip the loudest `strength` percent of the samples, then restore the level, so that only distortion remains."""
    limit = float(np.quantile(np.abs(samples), 1 - strength / 100))
    clipped = np.clip(samples, -limit, limit)
    return clipped * np.float32(_rms(samples) / max(_rms(clipped), 1e-9))


def white_noise(samples: Samples, rate: int, strength: float, generator: np.random.Generator) -> Samples:
    """Add Gaussian white noise, `strength` dB below the song."""
    return _mixed(samples, generator.standard_normal(samples.shape, np.float32), strength)


def pink_noise(samples: Samples, rate: int, strength: float, generator: np.random.Generator) -> Samples:
    """Add noise with equal power in every octave, `strength` dB below the song."""
    count = samples.shape[1]
    spectrum = np.fft.rfft(generator.standard_normal(samples.shape, np.float32), axis=1)
    spectrum /= np.sqrt(np.maximum(np.arange(spectrum.shape[1]), 1))
    return _mixed(samples, np.fft.irfft(spectrum, count, axis=1).astype(np.float32), strength)


def low_pass(samples: Samples, rate: int, strength: float, generator: np.random.Generator) -> Samples:
    """Remove everything above `strength` Hz. MuQ-Eval reports −0.18 on SongEval's scale at 6 kHz."""
    return _filtered(samples, rate, (strength,), "lowpass")


def telephone(samples: Samples, rate: int, strength: float, generator: np.random.Generator) -> Samples:
    """Keep the band of a telephone (ITU-T G.712)."""
    return _filtered(samples, rate, TELEPHONE_HZ, "bandpass")


def wow(samples: Samples, rate: int, strength: float, generator: np.random.Generator) -> Samples:
    """Vary the speed slowly by at most ± `strength` percent, like a record with its hole off-centre."""
    return _varied(samples, rate, strength / 100, WOW_HZ, generator)


def flutter(samples: Samples, rate: int, strength: float, generator: np.random.Generator) -> Samples:
    """Vary the speed fast by at most ± `strength` percent, like a worn tape machine."""
    return _varied(samples, rate, strength / 100, FLUTTER_HZ, generator)


def detune(samples: Samples, rate: int, strength: float, generator: np.random.Generator) -> Samples:
    """Mix the song with a copy that is `strength` cents higher, as if half of the voices were out of tune.

    The copy is shifted by Signalsmith Stretch, and both are mixed at equal level.
    """
    from python_stretch import Signalsmith

    stretch = Signalsmith.Stretch(0)
    stretch.preset(len(samples), rate)
    stretch.setTransposeSemitones(strength / 100)
    # The library fades out its last block.
    padded = np.pad(samples, ((0, 0), (0, stretch.blockSamples())))
    copy = np.asarray(stretch.process(padded))[:, : samples.shape[1]]
    mixed = samples + copy
    return np.asarray(mixed * np.float32(_rms(samples) / max(_rms(mixed), 1e-9)))


def dropouts(samples: Samples, rate: int, strength: float, generator: np.random.Generator) -> Samples:
    """Silence `strength` percent of the song, in gaps of 0.1 s with short fades, as lost packets do."""
    gap, fade = round(GAP_SECONDS * rate), round(FADE_SECONDS * rate)
    slots = samples.shape[1] // gap
    order = generator.permutation(slots)
    kept = np.ones(samples.shape[1], np.float32)
    shape = np.ones(gap, np.float32)
    shape[:fade] = np.linspace(0, 1, fade)
    shape[gap - fade :] = np.linspace(1, 0, fade)
    for slot in order[: max(1, round(slots * strength / 100))]:
        kept[slot * gap : (slot + 1) * gap] -= shape
    return samples * kept


def _rms(samples: Samples) -> float:
    return math.sqrt(float(np.mean(np.square(samples, dtype=np.float64))))


def _mixed(samples: Samples, noise: Samples, snr: float) -> Samples:
    level = _rms(samples) / _rms(noise) / 10 ** (snr / 20)
    return samples + noise * np.float32(level)


def _filtered(samples: Samples, rate: int, edges: tuple[float, ...], kind: str) -> Samples:
    from scipy.signal import butter, sosfiltfilt

    if edges[-1] >= rate / 2:
        return samples  # the file has nothing above
    sections = butter(ORDER, edges if len(edges) > 1 else edges[0], kind, fs=rate, output="sos")
    return np.asarray(sosfiltfilt(sections, samples, axis=1), np.float32)


def _varied(samples: Samples, rate: int, depth: float, hertz: float, generator: np.random.Generator) -> Samples:
    """Read the song at a speed of 1 + depth · sin(2π · hertz · t + φ), by cubic splines; the length stays."""
    from scipy.ndimage import map_coordinates

    angle = 2 * np.pi * hertz / rate
    start = generator.uniform(0, 2 * np.pi)
    times = np.arange(samples.shape[1], dtype=np.float64)
    places = times + depth / angle * (np.cos(start) - np.cos(angle * times + start))
    read = [map_coordinates(channel, places[None], order=3, mode="nearest") for channel in samples]
    return np.stack(read).astype(np.float32)
