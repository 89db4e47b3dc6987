"""The reward of one song, with the reasons to doubt it."""

from collections.abc import Mapping
from dataclasses import dataclass

from stages.scoring.rows import SongScore
from store.files.visible import visible

# Why a value should not be trusted, in a word.
FLAGS = ("failed", "silence", "damaged", "novel", "caution")


@dataclass(frozen=True)
class RewardValue:
    """The reward of one song; made by `Reward`.

    Attributes
    ----------
    value
        The weighted mean of its scores, 1 to 5; for songs that are silent or cannot be scored, a value set in `Reward`.
    row
        The song's row, with the complete warnings.

    Examples
    --------
    >>> import hear_music as hear
    >>> row = hear.SongScore(song_id="a", path="", scores={"Clarity": 3.5}, novelty=1.8, loudest=-9.1, seconds=30.0)
    >>> reward = hear.RewardValue(3.5, row)
    >>> reward
    <RewardValue 3.50 (novel)>
    >>> reward.value, reward.novelty, reward.loudest, reward.flags
    (3.5, 1.8, -9.1, ('novel',))
    """

    value: float
    row: SongScore

    @property
    def scores(self) -> Mapping[str, float]:
        """The scores by dimension, as the head gave them; empty if the song cannot be scored."""
        return self.row.scores

    @property
    def novelty(self) -> float | None:
        """Distance from the training songs, above 1 for 1 % of them; None if the head does not record them."""
        return self.row.novelty

    @property
    def loudest(self) -> float | None:
        """Level of the loudest second in dBFS; None if unknown."""
        return self.row.loudest

    @property
    def is_silence(self) -> bool:
        """Whether the song is silent, or nearly so."""
        return self.row.is_silence

    @property
    def seconds(self) -> float | None:
        """Duration; None if unknown."""
        return self.row.seconds

    @property
    def error(self) -> str:
        """Why the song cannot be scored; empty if it can."""
        return self.row.error

    @property
    def flags(self) -> tuple[str, ...]:
        """Why the value should not be trusted, each one word.

        `failed`: the song cannot be scored. `silence`: its loudest second is below -80 dBFS. `damaged`: parts of its
        file could not be read. `novel`: it is unlike the training songs. `caution`: no score of this head can be
        trusted.
        """
        row = self.row
        applies = (row.error, row.is_silence, row.damage, row.is_novel, row.caution)
        return tuple(flag for flag, found in zip(FLAGS, applies, strict=True) if found)

    def __repr__(self) -> str:
        doubts = f" ({', '.join(self.flags)})" if self.flags else ""
        return visible(f"<RewardValue {self.value:.2f}{doubts}>")
