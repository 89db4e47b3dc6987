"""Rows of three systems with the same prompts."""

from collections.abc import Callable

import numpy as np
import pytest

from stages.scoring.rows import SongScore

Rows = dict[str, list[SongScore]]
DIMENSIONS = ("Coherence", "Musicality")


@pytest.fixture(scope="session")
def make_systems() -> Callable[..., Rows]:
    """A function that makes rows of systems with a mean advantage each; song k of each has the same prompt."""

    def make(songs: int = 40, **advantage: float) -> Rows:
        generator = np.random.default_rng(0)
        prompts = generator.normal(3, 0.5, (songs, 2))
        rows = {}
        for name, mean in advantage.items():
            scores = prompts + mean + generator.normal(0, 0.2, prompts.shape)
            rows[name] = [
                SongScore(
                    song_id=f"{name}/söng {number}",
                    path=f"{name}/söng {number}.wav",
                    group=name,
                    scores=dict(zip(DIMENSIONS, row.tolist(), strict=True)),
                    spread=dict.fromkeys(DIMENSIONS, 0.1),
                    beside={"v1.other": {"CE": float(2 * row[0])}},
                )
                for number, row in enumerate(scores)
            ]
        return rows

    return make
