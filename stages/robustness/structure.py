"""Changes of a song's course; each second stays intact. Samples are float32 (channel, n); see `changes.Apply`."""

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.float32]
# Fades at each cut, so that no click is heard.
FADE_SECONDS = 0.01


def pause(samples: Samples, rate: int, strength: float, generator: np.random.Generator) -> Samples:
    """Stop for `strength` seconds in the middle of the song, then go on."""
    middle = samples.shape[1] // 2
    silence = np.zeros((len(samples), round(strength * rate)), np.float32)
    parts = [_faded(samples[:, :middle], rate), silence, _faded(samples[:, middle:], rate)]
    return np.concatenate(parts, axis=1)


def shuffled(samples: Samples, rate: int, strength: float, generator: np.random.Generator) -> Samples:
    """Cut the song into sections of `strength` seconds, and play them in random order; the last, shorter one stays.

    The halves of a song that is shorter than two sections are swapped.

    Keys, chords, voices and sound stay the same within each section; only their order makes no sense.
    """
    size = max(1, min(round(strength * rate), samples.shape[1] // 2))
    count = samples.shape[1] // size
    order = generator.permutation(count)
    if (order == np.arange(count)).all():
        order = order[::-1]
    parts = [_faded(samples[:, size * one : size * (one + 1)], rate) for one in order]
    return np.concatenate([*parts, samples[:, size * count :]], axis=1)


def reverse(samples: Samples, rate: int, strength: float, generator: np.random.Generator) -> Samples:
    """Play the song backwards: the same spectrum on average, and no music that people know."""
    return samples[:, ::-1]


def _faded(samples: Samples, rate: int) -> Samples:
    length = min(round(FADE_SECONDS * rate), samples.shape[1] // 2)
    ramp = np.linspace(0, 1, length, dtype=np.float32)
    faded = samples.copy()
    faded[:, :length] *= ramp
    faded[:, samples.shape[1] - length :] *= ramp[::-1]
    return faded
