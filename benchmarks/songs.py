"""A synthesised song, for benchmarks that are given none."""

from pathlib import Path

import numpy as np
import soundfile


def synthesise(path: Path, seconds: float, rate: int = 48_000) -> Path:
    """Write decaying notes and noise, in stereo, to a file of the format that its name says."""
    generator, moment = np.random.default_rng(0), np.arange(int(seconds * rate)) / rate
    pitch = (220.0 * 2.0 ** (generator.integers(0, 24, int(seconds * 4) + 1) / 12))[(moment * 4).astype(int)]
    tone = 0.2 * np.sin(2 * np.pi * np.cumsum(pitch) / rate) * np.exp(-4 * (moment * 4 % 1))
    noise = 0.1 * generator.standard_normal(moment.size) * np.exp(-40 * (moment * 2 % 1))
    soundfile.write(path, np.stack([tone + noise, tone - noise], axis=1).astype(np.float32), rate)
    return path
