"""Scores over time: the whole song is encoded once, and the head scores sliding windows of its frames."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from stages.scoring.errors import ScoringError
from stages.scoring.json_values import as_number

if TYPE_CHECKING:
    from stages.head.checkpoint.ensemble import Ensemble


@dataclass(frozen=True)
class Windows:
    """Windows for scores over time.

    Parameters
    ----------
    seconds, hop
        Length of a window, and the distance between the starts of two.

    Raises
    ------
    ScoringError
        One is not positive, or not finite.

    Examples
    --------
    >>> import hear_music as hear
    >>> scorer = hear.Scorer.load("models/track2", windows=hear.Windows(1.0, 0.5))
    >>> scorer.score("song.mp3").curve.seconds
    (0.5, 0.98, 1.46)
    """

    seconds: float = 10.0
    hop: float = 2.0

    def __post_init__(self) -> None:
        """Check the values."""
        if not (0 < self.seconds < math.inf and 0 < self.hop < math.inf):
            raise ScoringError(
                f"windows: expected finite seconds above 0, found {self.seconds:g} with a hop of {self.hop:g}"
            )

    def frames(self, frame_rate: float, *, fewest: int = 1) -> tuple[int, int]:
        """Length and hop in frames, at `frame_rate` frames per second.

        Raises
        ------
        ScoringError
            A window has fewer than `fewest` frames.
        """
        window, hop = round(self.seconds * frame_rate), max(1, round(self.hop * frame_rate))
        if window < fewest:
            raise ScoringError(
                f"windows: expected {fewest} frames or more for the head, found {window} in {self.seconds:g} s "
                f"({frame_rate:g} frames per second); use longer windows"
            )
        return window, hop


@dataclass(frozen=True, kw_only=True)
class Curve:
    """Scores over time.

    Attributes
    ----------
    seconds
        Centre of each window.
    window, hop
        Length of a window, and time from one window to the next, in seconds.
    scores
        By dimension, one value per window.
    """

    seconds: tuple[float, ...]
    window: float
    hop: float
    scores: Mapping[str, tuple[float, ...]]

    def to_json(self) -> dict[str, Any]:
        """Convert to plain values."""
        scores = {name: [round(value, 4) for value in values] for name, values in self.scores.items()}
        seconds = [round(value, 3) for value in self.seconds]
        return {"seconds": seconds, "window": self.window, "hop": self.hop, "scores": scores}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Curve":
        """Read what `to_json` gave. Raises KeyError, TypeError or AttributeError for anything else."""
        seconds = tuple(as_number(value) for value in values["seconds"])
        scores = {name: tuple(as_number(value) for value in curve) for name, curve in values["scores"].items()}
        if any(len(curve) != len(seconds) for curve in scores.values()):
            raise TypeError("expected one score per window")
        return cls(seconds=seconds, window=as_number(values["window"]), hop=as_number(values["hop"]), scores=scores)


def window_starts(frames: int, *, window: int, hop: int) -> list[int]:
    """First frames of windows: one per hop, and one that ends with the song if more than half a hop is left over.

    A song that is shorter than a window is one window.
    """
    last = max(frames - window, 0)
    starts = list(range(0, last + 1, hop))
    return [*starts, last] if 2 * (last - starts[-1]) > hop else starts


def curve_of(ensemble: "Ensemble", frames: NDArray[np.floating], windows: Windows, *, frame_rate: float) -> Curve:
    """Scores over time of one song (S, T, C), the ensemble's streams at `frame_rate` frames per second.

    Raises
    ------
    ScoringError
        A window has fewer frames than the head needs.
    """
    window, hop = windows.frames(frame_rate, fewest=ensemble.fewest_frames)
    starts = window_starts(frames.shape[1], window=window, hop=hop)
    scores = ensemble.score([frames[:, start : start + window] for start in starts]).mean
    length = min(window, frames.shape[1])
    return Curve(
        seconds=tuple((start + length / 2) / frame_rate for start in starts),
        window=windows.seconds,
        hop=windows.hop,
        scores={name: tuple(scores[:, number].tolist()) for number, name in enumerate(ensemble.dimensions)},
    )
