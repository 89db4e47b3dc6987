"""The level of a song's loudest second, and the level below which a song counts as silence.

The level is the root mean square around the mean, so that a constant offset counts as silence, in dBFS: 0 is a square
wave at full scale. Songs are at −5 to −30; the quietest tested one (the beginning of Ravel's Boléro) is at −41, and at
−71 when attenuated by 30 dB. The noise of a silent 16-bit recording is at −93 and below.
"""

import math

import numpy as np
from numpy.typing import NDArray

from stages.extract.audio.reading import SAMPLE_RATE

# Below this level a song is so close to silence that its scores mean nothing.
SILENCE_DBFS = -80.0
# Reported for digital silence, because JSON has no infinity.
LOWEST_DBFS = -140.0
# Step of the search for the loudest second.
STEP_SECONDS = 0.1


def loudest_second(samples: NDArray[np.float32]) -> float:
    """Level of the loudest second in dBFS, rounded to 0.1; of the whole song if it is shorter.

    Parameters
    ----------
    samples
        (n,) float32, mono at 24 kHz, full scale at ±1, all finite; n ≥ 1.
    """
    step = round(STEP_SECONDS * SAMPLE_RATE)
    whole = len(samples) // step * step
    parts = [samples[:whole].reshape(-1, step), *([samples[None, whole:]] if whole < len(samples) else [])]
    counts = np.concatenate([np.full(len(part), part.shape[1], np.float64) for part in parts])
    sums = np.concatenate([part.sum(axis=1, dtype=np.float64) for part in parts])
    squares = np.concatenate([np.einsum("ij,ij->i", part, part, dtype=np.float64) for part in parts])
    second = np.ones(min(SAMPLE_RATE // step, len(counts)))
    count, total, square = (np.convolve(values, second, "valid") for values in (counts, sums, squares))
    power = float(np.max(square / count - (total / count) ** 2))
    return round(max(LOWEST_DBFS, 10 * math.log10(max(power, 1e-30))), 1)


def is_silence(level: float | None) -> bool:
    """Whether a level in dBFS is silence; an unknown level (None) is not."""
    return level is not None and level < SILENCE_DBFS
