"""The room's error."""

from store.errors import HearError


class StressError(HearError):
    """Planted changes cannot be made or measured."""
