"""Text on figures. Names of songs, columns and classes are arbitrary text."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def plain_text() -> Iterator[None]:
    """Make matplotlib draw text literally, without formulas, and draw boxes for characters that the font lacks."""
    from matplotlib import rc_context

    with rc_context({"text.parse_math": False, "text.usetex": False}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font", category=UserWarning)
        yield
