"""Errors of scoring."""

from store.errors import HearError


class ScoringError(HearError):
    """Songs cannot be scored as asked; the message gives the problem, the place and the remedy."""


class SongTooLongError(ScoringError):
    """A song is longer than the scorer's limit."""
