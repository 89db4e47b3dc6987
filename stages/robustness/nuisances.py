"""Changes that leave the music as it is. Samples are float32 (channel, n); see `stages.robustness.changes.Apply`."""

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.float32]


def gain(samples: Samples, rate: int, strength: float, generator: np.random.Generator) -> Samples:
    """Change the level by `strength` dB, as a listener does with the volume.

    Nothing is clipped: beyond full scale, a decoder's floats are kept, too. MuQ-Eval reports +0.043 for SongEval's head
    at a factor of 1.6.
    """
    return samples * np.float32(10 ** (strength / 20))


def mono(samples: Samples, rate: int, strength: float, generator: np.random.Generator) -> Samples:
    """Average the channels, as the encoders' own input does: a difference would be an error of the reading."""
    return np.asarray(samples.mean(axis=0, keepdims=True))


def polarity(samples: Samples, rate: int, strength: float, generator: np.random.Generator) -> Samples:
    """Invert the sign, which is inaudible."""
    return -samples


def lead_in(samples: Samples, rate: int, strength: float, generator: np.random.Generator) -> Samples:
    """Put `strength` seconds of silence before the song, as exports often have."""
    return np.pad(samples, ((0, 0), (round(strength * rate), 0)))
