"""Voices from a single-cycle wave table, and drums from noise and a falling tone."""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.float32]

RATE = 44_100
TABLE_SIZE = 4_096
HARMONICS = {"lead": 14, "chords": 8, "bass": 6}


@lru_cache(maxsize=256)
def cycle(voice: str, richness: float) -> Samples:
    """One cycle of a voice, float32 (TABLE_SIZE,), peak 1.

    At richness 0 it has only odd harmonics, as strong as in a sound chip; at 1 all harmonics, decreasing as in strings.
    """
    phase = 2 * np.pi * np.arange(TABLE_SIZE) / TABLE_SIZE
    wave = np.zeros(TABLE_SIZE)
    for harmonic in range(1, HARMONICS[voice] + 1):
        hollow = 1 / harmonic**0.5 if harmonic % 2 else 0.0
        wave += ((1 - richness) * hollow + richness / harmonic**1.6) * np.sin(harmonic * phase)
    return np.asarray(wave / np.abs(wave).max(), dtype=np.float32)


def play(voice: str, pitch: int, seconds: float, richness: float) -> Samples:
    """One note, float32 (n,): rich voices have attack, vibrato and decay, poor ones switch on and off."""
    count = max(1, round(seconds * RATE))
    time = np.arange(count, dtype=np.float32) / np.float32(RATE)
    frequency = 440 * 2 ** ((pitch - 69) / 12)
    # float64 for the growing phase, then whole steps of the table; `&` wraps them, faster than a remainder.
    phase = np.float64(frequency) * time
    if voice == "lead":
        phase += 0.03 * richness * np.sin(2 * np.pi * 5.5 * time) * frequency / 440
    index = (phase * TABLE_SIZE).astype(np.int32) & (TABLE_SIZE - 1)
    return np.asarray(cycle(voice, richness)[index] * _envelope(time, seconds, richness), dtype=np.float32)


def _envelope(time: Samples, seconds: float, richness: float) -> Samples:
    attack = np.minimum(time / np.float32(0.002 + 0.02 * richness), 1)
    release = np.clip((np.float32(seconds) - time) / np.float32(0.003 + 0.05 * richness), 0, 1)
    decay = np.exp(-time * np.float32(2.5 * richness))
    return np.asarray(attack * release * decay, dtype=np.float32)


def drum_kit(rng: np.random.Generator) -> dict[str, Samples]:
    """Kick, snare and hat, float32 (n,) each."""
    time = np.arange(round(0.25 * RATE)) / RATE
    noise = rng.standard_normal(len(time))
    kick = np.sin(2 * np.pi * (50 * time + 6 * (1 - np.exp(-time * 30)))) * np.exp(-time * 14)
    snare = (0.6 * noise + 0.4 * np.sin(2 * np.pi * 190 * time)) * np.exp(-time * 22)
    # A difference acts as a high-pass filter.
    hat = np.diff(noise, prepend=0.0) * np.exp(-time * 60)
    levels = {"kick": 0.9, "snare": 0.5, "hat": 0.18}
    return {
        name: (levels[name] * hit).astype(np.float32) for name, hit in (("kick", kick), ("snare", snare), ("hat", hat))
    }
