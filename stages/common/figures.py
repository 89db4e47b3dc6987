"""Text on figures: names of songs, columns and classes are anybody's."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def plain_text() -> Iterator[None]:
    """While open, matplotlib takes no text for a formula, and draws boxes in place of a script that the font lacks."""
    from matplotlib import rc_context

    with rc_context({"text.parse_math": False, "text.usetex": False}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font", category=UserWarning)
        yield
