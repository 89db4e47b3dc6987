"""What can go wrong between weights, waveform and hidden states."""

from store.errors import HearError


class EncoderError(HearError):
    """An encoder cannot be loaded, or cannot encode this song."""


class WeightsError(EncoderError):
    """An encoder's files are not where they were looked for; others may do."""


def one_line(error: BaseException, longest: int = 300) -> str:
    """Return somebody else's message on one line of at most so many characters."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= longest else f"{text[: longest - 1]}…"
