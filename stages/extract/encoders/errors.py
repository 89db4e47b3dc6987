"""Errors of encoders."""

from store.errors import HearError


class EncoderError(HearError):
    """An encoder cannot be loaded, or cannot encode this song."""


class WeightsError(EncoderError):
    """An encoder's files were not found at the given source; another source may have them."""
