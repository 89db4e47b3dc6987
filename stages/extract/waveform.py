"""What decoded audio is, and the error for a file that has none to give."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from store.errors import HearError


class AudioError(HearError):
    """A file cannot become embeddings; the message names the file and the reason in one line."""


@dataclass(frozen=True)
class Waveform:
    """Mono audio.

    `samples` is float32 (n,), full scale at ±1; lossy files may overshoot it a little and are fed as they are, as the
    published models were. `rate` is in hertz.
    """

    samples: NDArray[np.float32]
    rate: int

    @property
    def seconds(self) -> float:
        """Duration in seconds."""
        return len(self.samples) / self.rate
