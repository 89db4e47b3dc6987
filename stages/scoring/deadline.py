"""When scoring must end, whatever it is doing then."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from stages.scoring.errors import ScoringError


class TooLateError(ScoringError):
    """The deadline came before the scores."""


class Deadline:
    """The end of the time that one song may take; safe to use from several threads.

    Parameters
    ----------
    seconds
        From now on.
    """

    def __init__(self, seconds: float) -> None:
        self._until = time.monotonic() + seconds
        self._ended = False

    @property
    def left(self) -> float:
        """Seconds until the end; 0 after it."""
        return 0.0 if self._ended else max(0.0, self._until - time.monotonic())

    def end(self) -> None:
        """Make now the end: nobody wants the scores any more."""
        self._ended = True

    @contextmanager
    def ends_models(self) -> Iterator[None]:
        """Within this context, models that this thread runs end with `TooLateError` when the time is over.

        It is checked before each module of a model, such as one linear layer or one norm: the longest that a model can
        go on is one operation, the largest of which is the attention over a whole song.
        """
        # Here, since what only counts seconds need not load torch.
        from torch.nn.modules.module import register_module_forward_pre_hook

        thread = threading.get_ident()

        def check(*_: object) -> None:
            if threading.get_ident() == thread and not self.left:
                raise TooLateError("the time for this song is over")

        with register_module_forward_pre_hook(check):
            yield
