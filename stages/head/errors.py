"""The error of stage two that a user can cause."""

from store.errors import HearError


class HeadError(HearError):
    """A head, a checkpoint or a training run cannot be used or written."""
