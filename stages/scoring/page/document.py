"""Rows → the report as one HTML document with all its styles, scripts, data and sound."""

import html
import json
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from stages.extract.audio.loudness import SILENCE_DBFS
from stages.scoring.errors import ScoringError
from stages.scoring.page.previews import Preview
from stages.scoring.rows import SongScore, caution_in
from stages.scoring.statistics import by_group, mean_intervals
from store.files.replacing import replacing

REPORT = "index.html"
# In order; together they are one script.
_SCRIPTS = ("page.js", "charts.js", "curves.js", "overview.js", "songs.js", "csv.js")
# Nothing inside a script element may look like markup; JSON has these escapes for all strings.
_ESCAPES = {ord("<"): "\\u003c", ord(">"): "\\u003e", ord("&"): "\\u0026", 0x2028: "\\u2028", 0x2029: "\\u2029"}


def report_html(
    rows: Sequence[SongScore],
    dimensions: Sequence[str],
    *,
    title: str = "Scores",
    by: str = "",
    previews: Mapping[int, Preview] | None = None,
    beside: Mapping[str, Any] | None = None,
    facts: Mapping[str, str] | None = None,
) -> str:
    """Build the report: one HTML document that loads nothing else.

    Parameters
    ----------
    rows, dimensions
        The songs, and the names of their scores.
    title
        The heading.
    by
        Name of the rows' groups, or empty.
    previews
        Previews by position of the row.
    beside
        Scales and agreement of other models; see `beside_json`.
    facts
        Facts for the footer, by name: date, heads, encoders, licence.
    """
    sound = previews or {}
    data = {
        "by": by,
        "about": "",
        "caution": caution_in(rows),
        "beside": dict(beside or {}),
        "facts": dict(facts or {}),
        "groups": _groups(rows) if by else [],
        "rows": [{**row.to_json(), **_player(sound.get(number))} for number, row in enumerate(rows)],
    }
    return _document(data, dimensions, title)


def upload_html(
    dimensions: Sequence[str], *, title: str, about: str = "", caution: str = "", introduction: str = ""
) -> str:
    """Build the service's page: an empty report, and a form that adds songs to it.

    `introduction` is HTML with all texts escaped; it follows the form, and closes when the first song is added.
    """
    data = {"by": "", "about": about, "caution": caution, "beside": {}, "facts": {}, "groups": [], "rows": []}
    return _document(data, dimensions, title, scripts=["upload.js"], form=_part("upload.html") + introduction)


def static_html(title: str, body: str) -> str:
    """Build a page without scripts, in the report's style.

    Parameters
    ----------
    title
        Plain text.
    body
        HTML with all texts escaped: `<h2>`, `<p>`, `<table>`, `<figure>` with SVG.
    """
    head, _, _ = _part("page.html").partition("<body>")
    head = head.replace("/*STYLE*/", _part("page.css")).replace("<!--TITLE-->", html.escape(title))
    return f"{head}<body>\n<header><h1>{html.escape(title)}</h1></header>\n<main>{body}</main>\n</body>\n</html>\n"


def _groups(rows: Sequence[SongScore]) -> list[dict[str, Any]]:
    """Per group, best first: its name, its songs, and each mean with the ends of its interval, None if unknown."""
    intervals = mean_intervals(rows)
    return [
        {
            "group": name,
            "songs": next(iter(found.values())).songs,
            "means": {key: [one.mean, *intervals[name].get(key, (None, None))] for key, one in found.items()},
        }
        for name, found in by_group(rows).items()
    ]


def _player(preview: Preview | None) -> dict[str, Any]:
    if preview is None:
        return {}
    if not preview.uri:
        return {"no_preview": preview.problem}
    return {"audio": preview.uri, "audio_start": round(preview.start, 2), "audio_seconds": round(preview.seconds, 2)}


def _document(
    data: Mapping[str, Any], dimensions: Sequence[str], title: str, *, scripts: Sequence[str] = (), form: str = ""
) -> str:
    data = {**data, "dimensions": list(dimensions), "silence": SILENCE_DBFS}
    parts = {
        "/*STYLE*/": _part("page.css"),
        "/*SCRIPT*/": "\n".join(_part(name) for name in (*_SCRIPTS, *scripts, "start.js")),
        "<!--FORM-->": form,
        "<!--TITLE-->": html.escape(title),
        # Last, and without a `<`, so that no data is mistaken for a placeholder of the template.
        "<!--DATA-->": json.dumps(data, ensure_ascii=False, allow_nan=False).translate(_ESCAPES),
    }
    page = _part("page.html")
    for mark, text in parts.items():
        page = page.replace(mark, text)
    return page


def _part(name: str) -> str:
    return files("stages.scoring.page").joinpath(name).read_text(encoding="utf-8")


def write_report(folder: Path, page: str) -> Path:
    """Write `index.html` into a folder, which is created if it does not exist; return its path.

    Raises
    ------
    ScoringError
        The file cannot be written.
    """
    path = folder / REPORT
    with replacing(path, error=ScoringError) as place:
        # Half a surrogate pair in a name becomes an escape, as in JSON.
        place.write_text(page, encoding="utf-8", errors="backslashreplace")
    return path
