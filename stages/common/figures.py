"""Text on figures, and figures inside pages. Names of songs, columns and classes are arbitrary text."""

import html
import io
import re
import textwrap
import unicodedata
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from store.files.visible import visible

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Black and white become the page's colours of text and ground, so that a figure fits light and dark pages. Ids of
# groups would repeat between figures; font families are the page's.
_FOR_PAGES = (
    (r'<g id="[^"]*">', "<g>"),
    (r"font-family: [^;\"]*(; )?", ""),
    (r"#000000", "currentColor"),
    (r"#ffffff", "var(--ground)"),
)


@contextmanager
def plain_text() -> Iterator[None]:
    """Make matplotlib draw text literally, without formulas, and draw boxes for characters that the font lacks."""
    from matplotlib import rc_context

    with rc_context({"text.parse_math": False, "text.usetex": False}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font", category=UserWarning)
        yield


def shortened(text: str, most: int) -> str:
    """Printable text of at most `most` columns, cut with an ellipsis; wide characters take two columns."""
    kept, width = "", 0
    shown = visible(text)
    for character in shown:
        width += 2 if unicodedata.east_asian_width(character) in "WF" else 1
        if width > most:
            # Room for the ellipsis.
            return kept[:-1].rstrip() + "…"
        kept += character
    return shown


def wrapped(text: str, width: int) -> str:
    """Printable text in lines of at most `width` characters, because matplotlib cuts text at the figure's edge."""
    return "\n".join(textwrap.wrap(visible(text), width))


def figure_svg(figure: "Figure", *, label: str = "") -> str:
    """Convert a figure made inside `plain_text` to an `<svg>` element for `static_html`, on light and dark pages.

    The ground is transparent; black lines and text take the page's colour of text, white ones that of its ground.

    Parameters
    ----------
    label
        A description for screen readers. Without it they skip the figure: describe it in its `<figcaption>`.
    """
    from matplotlib import rc_context

    file = io.StringIO()
    # Equal figures give equal text: no date, and ids of clips and markers that depend on their contents only.
    with plain_text(), rc_context({"svg.fonttype": "none", "svg.hashsalt": "hear"}):
        empty = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(file, format="svg", transparent=True, metadata=empty)
    _, _, drawing = file.getvalue().partition("</defs>")
    for pattern, replacement in _FOR_PAGES:
        drawing = re.sub(pattern, replacement, drawing)
    width, height = (f"{72 * inches:g}" for inches in figure.get_size_inches())
    reading = f'role="img" aria-label="{html.escape(label)}"' if label else 'aria-hidden="true"'
    # matplotlib's own style element would apply to the whole page.
    style = 'class="figure" fill="currentColor" stroke-linejoin="round" stroke-linecap="butt"'
    return f'<svg viewBox="0 0 {width} {height}" width="{width}pt" height="{height}pt" {reading} {style}>{drawing}'
