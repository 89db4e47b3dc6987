"""A part of a file or array, as other programs' inputs name it."""

import math
from pathlib import Path
from typing import Any

from stages.extract.audio.reading import SAMPLE_RATE, AudioError, read_audio


def crop(audio: Any, rate: int, start: float, end: float = math.inf) -> Any:
    """The song from `start` to `end` in seconds, for `Scorer.score_batch`.

    Parameters
    ----------
    audio
        A path, or an array or tensor (n,) or (channel, n).
    rate
        Of an array, in Hz.

    Returns
    -------
    path, or (array, rate)
        A path if nothing is cut off, or if the file cannot be read: the scorer then gives the reason.
    """
    if isinstance(audio, str | Path):
        if (start, end) == (0, math.inf):
            return Path(audio)
        try:
            audio, rate = read_audio(Path(audio)).samples, SAMPLE_RATE
        except AudioError:
            return Path(audio)
    first, last = round(start * rate), None if end == math.inf else round(end * rate)
    return audio[..., first:last], rate
