"""A head's scores as the reward of a generator: for reinforcement learning, or to choose among takes."""

import math
from collections.abc import Iterable, Iterator
from statistics import fmean, pstdev
from typing import Any

from stages.scoring.clips import Audio
from stages.scoring.errors import ScoringError
from stages.scoring.reward.value import FLAGS, RewardValue
from stages.scoring.reward.weights import Weights, normalised, weighted
from stages.scoring.rows import SongScore
from stages.scoring.scorer import Scorer

# The lowest score of the scale.
LOWEST = 1.0


class Reward:
    """One number per song from the scores of its dimensions, with diagnostics.

    A generator that is trained on a score learns to raise the score, not the music. Watch the diagnostics of each value
    and `summary` over the steps: a value that rises together with the novelty, the flags or the level is not progress.

    Parameters
    ----------
    scorer
        The scorer.
    weights
        Weight of each dimension, 0 or more, divided by their sum; dimensions that are not named do not count. By
        default, all count equally.
    failed
        The value of a song that cannot be scored, such as one that is too short. None raises a ScoringError.
    silent
        The value of a song whose loudest second is below -80 dBFS: a head gives silence a score as well, which a
        generator could exploit. By default the lowest score. None keeps the head's score.

    Raises
    ------
    ScoringError
        A weight is of an unknown dimension, negative or not finite, or all are 0. `failed` or `silent` is not finite.

    Examples
    --------
    >>> import numpy as np, hear_music as hear
    >>> reward = hear.Reward(hear.Scorer.load("models/track2"), {"Musicality": 2, "Clarity": 1}, failed=1.0)
    >>> take = np.random.default_rng(0).standard_normal(48_000).astype(np.float32) * 0.1
    >>> found = reward(take, 24_000)
    >>> 1 <= found.value <= 5, found.seconds, found.is_silence
    (True, 2.0, False)
    >>> [one.value for one in reward.batch([0 * take, take[:10]], 24_000)]
    [1.0, 1.0]
    """

    def __init__(
        self,
        scorer: Scorer,
        weights: Weights | None = None,
        *,
        failed: float | None = None,
        silent: float | None = LOWEST,
    ) -> None:
        for name, value in {"failed": failed, "silent": silent}.items():
            if value is not None and not math.isfinite(value):
                raise ScoringError(f"reward: {name}: expected a finite number or None, found {value}")
        self.scorer, self.weights = scorer, normalised(weights, scorer.dimensions)
        self.failed, self.silent = failed, silent

    def __call__(self, audio: Audio, sample_rate: float | None = None) -> RewardValue:
        """The reward of one song.

        Parameters
        ----------
        audio, sample_rate
            As for `Scorer.score`: an array or tensor, (n,) or (channel, n), and its rate in Hz; or a file.

        Raises
        ------
        ScoringError
            The song cannot be scored, and `failed` is None.
        """
        (value,) = self.batch([audio], sample_rate)
        return value

    def batch(
        self, songs: "Iterable[Audio | tuple[Any, float]]", sample_rate: float | None = None
    ) -> Iterator[RewardValue]:
        """The rewards of many songs of any lengths, in order; each is the same as for the song alone.

        Songs are taken and rewards given one after the other, so there may be any number; `list` collects them.

        Parameters
        ----------
        songs, sample_rate
            As for `Scorer.score_batch`.

        Raises
        ------
        ScoringError
            A song cannot be scored, and `failed` is None.
        """
        return (RewardValue(self._value(row), row) for row in self.scorer.score_batch(songs, sample_rate))

    def _value(self, row: SongScore) -> float:
        if row.error:
            if self.failed is None:
                name = row.path or row.song_id
                raise ScoringError(f"{name}: {row.error}; set failed= to give such songs a value")
            return self.failed
        if row.is_silence and self.silent is not None:
            return self.silent
        return weighted(row.scores, self.weights)

    @staticmethod
    def summary(values: Iterable[RewardValue]) -> dict[str, float]:
        """Means of a batch as a flat dictionary, to log at each step and see drift.

        Parameters
        ----------
        values
            Rewards of one batch.

        Returns
        -------
        dict
            `value` and `value_std` (over the songs); the means of each dimension, `novelty`, `loudest_dbfs` and
            `seconds`, as far as they are known; `flagged` and `flagged_silence`, …: shares of songs from 0 to 1. Empty
            without songs.
        """
        found = list(values)
        if not found:
            return {}
        numbers: dict[str, list[float]] = {"value": [one.value for one in found]}
        for one in found:
            about = {"novelty": one.novelty, "loudest_dbfs": one.loudest, "seconds": one.seconds}
            for name, number in {**one.scores, **about}.items():
                if number is not None:
                    numbers.setdefault(name, []).append(number)
        shares = {f"flagged_{flag}": fmean(flag in one.flags for one in found) for flag in FLAGS}
        means = {name: fmean(column) for name, column in numbers.items()}
        flagged = fmean(bool(one.flags) for one in found)
        return {**means, "value_std": pstdev(numbers["value"]), "flagged": flagged, **shares}
