"""HEAR as a model of CMI-RewardBench.

Interface: https://github.com/Haiwen-Xia/CMI-RewardBench, core/model_abc.py and model_interface.md.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.extract.audio.reading import SAMPLE_RATE
from stages.scoring.adapters.crop import crop
from stages.scoring.reward.weights import Weights, normalised, weighted
from stages.scoring.scorer import Scorer


class CmiModel:
    """A model for CMI-RewardBench's `inference_benchmark.py --model_class_path hear_music.adapters:CmiModel`.

    HEAR scores the song alone, without the prompt, the lyrics or a reference: the column for alignment is NaN, which
    the benchmark leaves out of its figures.

    Parameters
    ----------
    checkpoint
        As for `Scorer.load`.
    device
        As for `Scorer.load`.
    weights
        Weights of the dimensions, as for `Reward`; by default Musicality alone.

    Raises
    ------
    HeadError, EncoderError
        As `Scorer.load`.
    ScoringError
        The head has no dimension of the weights.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> from hear_music.adapters import CmiModel
    >>> model = CmiModel("models/track2", device="cpu")
    >>> inputs = [SimpleNamespace(audio="song.mp3"), SimpleNamespace(audio="none.mp3")]
    >>> scores = model.score_batch(inputs, batch_size=2, max_dur=30.0)
    >>> scores.shape, bool(1 <= scores[0, 1] <= 5), scores[1]
    ((2, 2), True, array([nan, nan], dtype=float32))
    """

    def __init__(self, checkpoint: str, device: str = "auto", weights: Weights | None = None) -> None:
        self.scorer = Scorer.load(checkpoint, device=device)
        self.weights = normalised(weights or {"Musicality": 1.0}, self.scorer.dimensions)

    @property
    def sr(self) -> int:
        """Rate of waveforms in Hz."""
        return SAMPLE_RATE

    def score_batch(
        self, inputs: Sequence[Any], batch_size: int = 1, max_dur: float = math.inf, **_: Any
    ) -> NDArray[np.float32]:
        """Score a batch.

        Parameters
        ----------
        inputs
            Each has `audio`: a path, or a waveform (n,) or (channel, n) at `sr`.
        batch_size
            Not used: the result does not depend on it.
        max_dur
            Score the first seconds only.

        Returns
        -------
        (N, 2) float32
            NaN for alignment, and the score, 1 to 5; NaN for a song that cannot be scored.
        """
        songs = (crop(one.audio, self.sr, 0, max_dur) for one in inputs)
        scores = np.full((len(inputs), 2), np.nan, np.float32)
        for place, row in zip(scores, self.scorer.score_batch(songs), strict=True):
            if row.scores:
                place[1] = weighted(row.scores, self.weights)
        return scores
