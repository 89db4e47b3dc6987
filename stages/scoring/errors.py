"""Errors of scoring."""

from store.errors import HearError


class ScoringError(HearError):
    """Songs cannot be scored as asked; the message says what, where and what to do."""


class SongTooLongError(ScoringError):
    """A song is longer than the scorer's limit."""
