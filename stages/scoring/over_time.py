"""Scores of sliding windows: the encoders hear the whole song once, the head hears a part of its frames at a time."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from stages.scoring.errors import ScoringError
from stages.scoring.rows import Curve

if TYPE_CHECKING:
    from stages.scoring.ensemble import Ensemble


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
        """Check what the frames below take for granted."""
        if not (0 < self.seconds < math.inf and 0 < self.hop < math.inf):
            raise ScoringError(
                f"windows: expected finite seconds above 0, found {self.seconds:g} with a hop of {self.hop:g}"
            )

    def frames(self, frame_rate: float, *, fewest: int = 1) -> tuple[int, int]:
        """Length and hop in frames, at so many frames a second.

        Raises
        ------
        ScoringError
            A window has fewer than `fewest` frames.
        """
        window, hop = round(self.seconds * frame_rate), max(1, round(self.hop * frame_rate))
        if window < fewest:
            raise ScoringError(
                f"a window of {self.seconds:g} s has {window} frames at {frame_rate:g} a second, the head needs "
                f"{fewest}; use longer windows"
            )
        return window, hop


def window_starts(frames: int, *, window: int, hop: int) -> list[int]:
    """First frames of windows: each hop, and one that ends with the song unless half a hop or less is left.

    A song that is shorter than a window is one window.
    """
    last = max(frames - window, 0)
    starts = list(range(0, last + 1, hop))
    return [*starts, last] if 2 * (last - starts[-1]) > hop else starts


def curve_of(ensemble: "Ensemble", frames: NDArray[np.floating], windows: Windows, *, frame_rate: float) -> Curve:
    """Scores over time of one song (S, T, C), the ensemble's streams at `frame_rate` frames a second.

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
