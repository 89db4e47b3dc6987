"""The intended quality of each demo song, and the ratings of four simulated raters."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stages.songs.manifest import DIMENSIONS

RATERS = 4
# Share of the variance that all dimensions have in common. It is even higher in ratings of real songs.
COMMON = 0.65
SYSTEMS = ("demo-alto", "demo-brio", "demo-coda", "demo-duo", "demo-etude")
# Spread between the simulated systems, relative to a spread of 1 between songs.
SYSTEM_SPREAD = 0.5


@dataclass(frozen=True)
class Qualities:
    """The qualities of one song: a value from 0 (bad) to 1 (good) per dimension."""

    coherence: float
    musicality: float
    memorability: float
    clarity: float
    naturalness: float


def draw_qualities(songs: int, seed: int) -> tuple[list[Qualities], list[str]]:
    """Draw qualities, spread evenly within each dimension, and the system of each song."""
    rng = np.random.default_rng([seed, 0])
    system = rng.integers(len(SYSTEMS), size=songs)
    common = rng.standard_normal(songs) + SYSTEM_SPREAD * np.linspace(-1, 1, len(SYSTEMS))[system]
    own = rng.standard_normal((songs, len(DIMENSIONS)))
    mixed = np.sqrt(COMMON) * common[:, None] + np.sqrt(1 - COMMON) * own
    even = (mixed.argsort(axis=0).argsort(axis=0) + 0.5) / songs
    return [Qualities(*(float(value) for value in row)) for row in even], [SYSTEMS[number] for number in system]


def rate(qualities: Qualities, rng: np.random.Generator) -> NDArray[np.float64]:
    """Ratings (raters, dimensions), 1 to 5 in steps of 0.5: each rater has a bias and small random errors."""
    values = np.array([getattr(qualities, name.lower()) for name in DIMENSIONS])
    bias = 0.15 * rng.standard_normal((RATERS, 1))
    noisy = 1.2 + 3.6 * values + bias + 0.3 * rng.standard_normal((RATERS, len(DIMENSIONS)))
    return np.clip(np.round(noisy * 2) / 2, 1, 5)
