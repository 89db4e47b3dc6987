"""Error messages of other libraries, made short enough to quote in one line."""

# Characters; a message may quote a whole file.
LONGEST = 300


def first_line(error: BaseException) -> str:
    """The first line of an error's message, shortened; the error's type if there is no message."""
    return _shortened(next(iter(str(error).splitlines()), ""), error)


def one_line(error: BaseException) -> str:
    """An error's whole message joined into one line, shortened; the error's type if there is no message."""
    return _shortened(" ".join(str(error).split()), error)


def _shortened(text: str, error: BaseException) -> str:
    text = text or type(error).__name__
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
