"""What can go wrong between weights, waveform and hidden states."""

from store.errors import HearError


class EncoderError(HearError):
    """An encoder cannot be loaded, or cannot encode this song."""
