"""What can go wrong between weights, waveform and hidden states."""

from store.errors import HearError


class EncoderError(HearError):
    """An encoder cannot be loaded, or cannot encode this song."""


class WeightsError(EncoderError):
    """An encoder's files are not where they were looked for; others may do."""
