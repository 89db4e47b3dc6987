"""The time limit of a song: decoding and models stop when it has passed."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from stages.scoring.errors import ScoringError


class TooLateError(ScoringError):
    """The time limit of a song has passed."""


class Deadline:
    """The time limit of one song; safe to use from several threads.

    Parameters
    ----------
    seconds
        Time limit, counted from now.
    """

    def __init__(self, seconds: float) -> None:
        self._until = time.monotonic() + seconds
        self._expired = False

    @property
    def remaining(self) -> float:
        """Seconds until the limit; 0 after it."""
        return 0.0 if self._expired else max(0.0, self._until - time.monotonic())

    def expire(self) -> None:
        """End the time now: no client waits for the scores any more."""
        self._expired = True

    @contextmanager
    def stops_models(self) -> Iterator[None]:
        """Within this context, models that this thread runs raise `TooLateError` once the time is over.

        The time is checked before each module of a model, such as a linear layer or a norm. A model can therefore
        exceed the limit by one operation at most; the longest is attention over a whole song.
        """
        # Imported here, so that code which only counts seconds does not load torch.
        from torch.nn.modules.module import register_module_forward_pre_hook

        thread = threading.get_ident()

        def check(*_: object) -> None:
            if threading.get_ident() == thread and not self.remaining:
                raise TooLateError("the time limit for this song has passed")

        with register_module_forward_pre_hook(check):
            yield
