"""Data-level augmentation: Table 1 of the paper, drawn and mostly applied by audiomentations.

The filters need the file's own rate, because a low-pass at 15–18 kHz has no effect at 24 kHz. Pitch and tempo do not,
and cost half as much at 24 kHz. So they come last, together: the song is resampled as if it were played faster or
slower, which shifts its pitch, and one pass of Signalsmith Stretch, the library's default, sets its length. Most of
that method's error comes from moving frequencies, which it no longer does.

Settings that the table does not give are the library's defaults (time shift rolls over), with one exception: time
stretch changes the song's length, where the default would cut off the end or append silence.
"""

import hashlib
import json
import random
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache
from importlib.metadata import version
from typing import Any

import numpy as np
from numpy.typing import NDArray
from python_stretch import Signalsmith

from stages.extract.audio.reading import SAMPLE_RATE, resample
from stages.extract.audio.waveform import Waveform

# name, audiomentations' class, its arguments, p
TABLE: tuple[tuple[str, str, dict[str, Any], float], ...] = (
    ("gain", "Gain", {"min_gain_db": -2.0, "max_gain_db": 2.0}, 0.9),
    ("gaussian_noise", "AddGaussianSNR", {"min_snr_db": 30.0, "max_snr_db": 50.0}, 0.25),
    ("pitch_shift", "PitchShift", {"min_semitones": -0.1, "max_semitones": 0.1}, 0.5),
    ("time_stretch", "TimeStretch", {"min_rate": 0.99, "max_rate": 1.01}, 0.4),
    ("time_shift", "Shift", {"min_shift": -0.5, "max_shift": 0.5, "shift_unit": "seconds", "rollover": True}, 0.4),
    ("high_pass", "HighPassFilter", {"min_cutoff_freq": 80.0, "max_cutoff_freq": 120.0}, 0.3),
    ("low_pass", "LowPassFilter", {"min_cutoff_freq": 15_000.0, "max_cutoff_freq": 18_000.0}, 0.3),
    ("equalizer", "SevenBandParametricEQ", {"min_gain_db": -3.0, "max_gain_db": 3.0}, 0.3),
)
# Applied last, together and at 24 kHz.
PITCH, TEMPO = "pitch_shift", "time_stretch"
# Block and hop of the pass, in samples: 85 and 30 ms. The library's preset has blocks of 120 ms, which cost half as
# much again and are hardly better; docs/concepts/extraction.md has the measurements.
BLOCK, HOP = 2048, 720


def _identity() -> str:
    versions = [version(package) for package in ("audiomentations", "python-stretch")]
    text = json.dumps([TABLE, versions, SAMPLE_RATE, BLOCK, HOP], sort_keys=True)
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


# Identifies everything that changes a view besides the song, the view and the seed. Part of a store's spec.
AUGMENTATION = _identity()


def draw_view(waveform: Waveform, *, song_id: str, view: int, seed: int) -> tuple[Waveform, dict[str, Any]]:
    """Augment a song and resample it to 24 kHz. The same song, view and seed give the same bytes in any process.

    audiomentations draws from the global generators of `random` and `numpy.random`. Both are seeded here and restored
    afterwards, so nothing else in the process may draw from them meanwhile.

    Parameters
    ----------
    waveform
        The song at its file's rate.
    view
        0 is the clean song, which is only resampled.

    Returns
    -------
    Waveform
        At 24 kHz; up to 1 % longer or shorter after time stretch.
    dict
        Drawn parameters by transform, in the table's order, as JSON values. If the file's rate or length rules a
        transform out, `skipped` has the reason.
    """
    if view == 0:
        return resample(waveform), {}
    samples, drawn = waveform.samples, {}
    with _seeded(song_id, view, seed):
        for name, transform in zip((row[0] for row in TABLE), _transforms(), strict=True):
            transform.randomize_parameters(samples, waveform.rate)
            if transform.parameters["should_apply"]:
                samples, drawn[name] = _apply(name, transform, samples, waveform.rate)
    applied = {name: values for name, values in drawn.items() if "skipped" not in values}
    semitones, tempo = applied.get(PITCH, {}).get("num_semitones", 0.0), applied.get(TEMPO, {}).get("rate", 1.0)
    return _set_pitch_and_tempo(replace(waveform, samples=samples), semitones, tempo), drawn


def _set_pitch_and_tempo(waveform: Waveform, semitones: float, tempo: float) -> Waveform:
    """Resample to 24 kHz, `semitones` higher and `tempo` times as fast."""
    speed = 2 ** (semitones / 12)
    played = resample(waveform, speed=speed)
    if speed == tempo or not len(played.samples):
        return played
    length = round(len(waveform.samples) * SAMPLE_RATE / waveform.rate / tempo)
    return replace(played, samples=_stretch(played.samples, length))


def _stretch(samples: NDArray[np.float32], length: int) -> NDArray[np.float32]:
    """Change the length of float32 (n,) at 24 kHz to (length,) and keep the pitch."""
    stretch = Signalsmith.Stretch(0)
    stretch.configure(1, BLOCK, HOP)
    stretch.setTimeFactor(len(samples) / max(1, length))
    # The library fades out the last block, so it gets one of silence.
    padded = np.append(samples, np.zeros(BLOCK, np.float32))
    return np.array(np.asarray(stretch.process(padded[np.newaxis]))[0, :length])


@lru_cache(maxsize=1)
def _transforms() -> tuple[Any, ...]:
    # Python warns about escape sequences in the library's sources when it compiles them.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import audiomentations

    return tuple(getattr(audiomentations, kind)(**arguments, p=p) for _, kind, arguments, p in TABLE)


@contextmanager
def _seeded(song_id: str, view: int, seed: int) -> Iterator[None]:
    digest = hashlib.sha256(json.dumps([seed, song_id, view]).encode()).digest()
    states = random.getstate(), np.random.get_state()  # noqa: NPY002 - audiomentations draws from the global generators
    random.seed(int.from_bytes(digest[:8]))
    np.random.seed(np.frombuffer(digest[8:], dtype=">u4").astype(np.uint32))  # noqa: NPY002
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])  # noqa: NPY002


def _apply(
    name: str, transform: Any, samples: NDArray[np.float32], rate: int
) -> tuple[NDArray[np.float32], dict[str, Any]]:
    if name == "equalizer":
        return _equalize(transform, samples, rate)
    drawn = _plain(transform.parameters)
    if reason := _ruled_out(transform.parameters, len(samples), rate):
        return samples, {**drawn, "skipped": reason}
    if name in (PITCH, TEMPO):
        return samples, drawn
    return transform.apply(samples, rate), drawn


def _equalize(transform: Any, samples: NDArray[np.float32], rate: int) -> tuple[NDArray[np.float32], dict[str, Any]]:
    """Apply seven filters, each a transform with its own parameters, in one pass over the samples."""
    from scipy.signal import sosfilt, sosfilt_zi  # takes a second to load, and only audiomentations needs it otherwise

    drawn, sections = [], []
    for band in (transform.low_shelf_filter, *transform.peaking_filters, transform.high_shelf_filter):
        drawn.append(_plain(band.parameters))
        if reason := _ruled_out(band.parameters, len(samples), rate):
            drawn[-1]["skipped"] = reason
        else:
            sections.append(band._get_biquad_coefficients_from_input_parameters(**drawn[-1], sample_rate=rate))
    if sections:
        sos = np.concatenate(sections)
        samples = sosfilt(sos, samples, zi=sosfilt_zi(sos) * samples[0])[0].astype(np.float32)
    return samples, {"bands": drawn}


def _ruled_out(parameters: dict[str, Any], length: int, rate: int) -> str:
    """Why a transform cannot be applied to this file; empty if it can."""
    frequency = parameters.get("cutoff_freq", parameters.get("center_freq", 0.0))
    if frequency >= rate / 2:
        return f"at or above half the file's rate, {rate / 2:g} Hz"
    # The fades at the stitch need room on both sides.
    if abs(parameters.get("shift_amount", 0.0)) * rate >= length - rate // 100:
        return f"the song is only {length / rate:.3f} s long"
    return ""


def _plain(parameters: dict[str, Any]) -> dict[str, Any]:
    kept = {name: value for name, value in parameters.items() if name != "should_apply"}
    return {name: value.item() if isinstance(value, np.generic) else value for name, value in kept.items()}
