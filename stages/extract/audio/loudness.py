"""How loud a song's loudest second is, and below which level it is silence.

The level is the root mean square about the mean, so that a constant offset counts as the silence that it is, in dBFS:
0 is a square wave at full scale. Songs lie at −5 to −30; the quietest one at hand (the beginning of Ravel's Boléro)
at −41, and at −71 when it is played 30 dB lower. The noise of a silent 16-bit recording lies at −93 and below.
"""

import math

import numpy as np
from numpy.typing import NDArray

from stages.extract.audio.reading import SAMPLE_RATE

# Below this a song is silence, or near enough to it that scores mean nothing.
SILENCE_DBFS = -80.0
# Digital silence has no level; JSON has no infinity.
LOWEST_DBFS = -140.0
# The loudest second is looked for in steps of this many seconds.
STEP_SECONDS = 0.1


def loudest_second(samples: NDArray[np.float32], rate: int = SAMPLE_RATE) -> float:
    """Level of the loudest second in dBFS, to a tenth; of the whole song where it is shorter.

    Parameters
    ----------
    samples
        (n,) float32, mono, full scale at ±1, every one finite; n ≥ 1.
    rate
        In hertz.
    """
    step = max(1, round(STEP_SECONDS * rate))
    whole = len(samples) // step * step
    parts = [samples[:whole].reshape(-1, step), *([samples[None, whole:]] if whole < len(samples) else [])]
    counts = np.concatenate([np.full(len(part), part.shape[1], np.float64) for part in parts])
    sums = np.concatenate([part.sum(axis=1, dtype=np.float64) for part in parts])
    squares = np.concatenate([np.einsum("ij,ij->i", part, part, dtype=np.float64) for part in parts])
    second = np.ones(min(round(rate / step), len(counts)))
    count, total, square = (np.convolve(values, second, "valid") for values in (counts, sums, squares))
    power = float(np.max(square / count - (total / count) ** 2))
    return round(max(LOWEST_DBFS, 10 * math.log10(max(power, 1e-30))), 1)


def is_silence(level: float | None) -> bool:
    """Whether a level in dBFS is that of silence; unknown levels (None) are not."""
    return level is not None and level < SILENCE_DBFS
