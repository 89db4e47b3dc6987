"""Limits on requests, and the error for a request that is refused."""

import math
from dataclasses import dataclass

from stages.scoring.errors import ScoringError
from store.errors import HearError
from store.files.visible import visible

# Seconds that a client should wait before it tries again.
RETRY_AFTER = 10


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Limits on requests.

    Attributes
    ----------
    megabytes
        Size of an upload (10⁶ bytes).
    minutes
        Length of a song. It also limits the samples in all channels (see `read_audio`).
    seconds
        Time from the first byte of a request to its answer, including the time in the queue. In a batch, the time for
        the upload, and then for each song from its turn in the queue.
    waiting
        Songs and batches that may wait while one is scored.

    Raises
    ------
    ScoringError
        A limit is not a finite number.
    """

    megabytes: float = 100.0
    minutes: float = 15.0
    seconds: float = 300.0
    waiting: int = 8

    def __post_init__(self) -> None:
        """Check that the limits are finite."""
        for name in ("megabytes", "minutes", "seconds"):
            if not math.isfinite(getattr(self, name)):
                raise ScoringError(f"limits: expected a finite number of {name}, found {getattr(self, name)}")

    @property
    def bytes(self) -> int:
        """Size of an upload, in bytes."""
        return int(self.megabytes * 1e6)

    @property
    def batches(self) -> int:
        """Batches at the same time: at most half of the places, because a batch keeps its place for many songs."""
        return max(1, (self.waiting + 1) // 2)

    @property
    def disk(self) -> int:
        """Size of all uploads together, in bytes: those that wait or are scored, and as many that arrive."""
        return 2 * (self.waiting + 1) * self.bytes


class RefusedError(HearError):
    """A refused or failed request: the HTTP status, and the reason without control characters."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(visible(reason))
        self.status = status
