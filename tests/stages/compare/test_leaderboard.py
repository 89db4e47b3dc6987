"""The page of compared systems: valid, escaped, with the same axes in drawings that are compared."""

import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

from stages.compare.leaderboard import draw_figures, write_leaderboard
from stages.compare.scores import compare_scores
from stages.scoring.rows import SongScore

Systems = Callable[..., dict[str, list[SongScore]]]
SVG = "{http://www.w3.org/2000/svg}"
EVIL = "<img src=x onerror=y>\x1b[2J\u202e$\\frac$"


class Cells(HTMLParser):
    """The texts of all table cells, row by row, and all tags."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.tags: set[str] = set()
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.add(tag)
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_data(self, data: str) -> None:
        if self.rows and self.rows[-1]:
            self.rows[-1][-1] += data


def test_the_page_has_every_system_with_figures_and_conclusions(make_systems: Systems, tmp_path: Path) -> None:
    rows = make_systems(A=0.0, B=0.4)
    found = compare_scores({EVIL: rows["A"], "B": rows["B"]}, draws=50)
    page = write_leaderboard(tmp_path / "päge", replace(found, caution="trained on <b>")).read_text(encoding="utf-8")
    cells = Cells(page)
    assert "img" not in cells.tags
    assert "script" not in cells.tags
    assert "trained on &lt;b&gt;" in page
    first, best, last = cells.rows[:3]
    assert first == ["system", "songs", "Coherence", "Musicality", "Mean", "other.CE"]
    mean = found.systems[1].figures["Mean"]["score"]
    assert (best[0], best[4]) == ("B", f"{mean.value:.3f}[{mean.low:.2f}, {mean.high:.2f}]rank 1")
    assert last[0] == "<img src=x onerror=y>\\x1b[2J\\u202e$\\frac$"
    assert cells.rows[4][2] == "B scores higher"
    assert len(cells.rows) == 3 + 1 + len(found.differences)


def test_intervals_are_inside_the_frame_and_axes_are_shared(make_systems: Systems) -> None:
    drawings = draw_figures(compare_scores(make_systems(A=0.0, B=0.4, C=-1.0), draws=50))
    ticks = []
    for drawing in drawings:
        root = ElementTree.fromstring(drawing)
        parts = {part.get("id", ""): part for part in root.iter()}
        frame = xs(parts["patch_2"])
        # The intervals and points of the three systems are clipped to the frame; ticks are not.
        drawn = [xs(part) for name, part in parts.items() if name.startswith("line2d_") and "clip-path" in text(part)]
        assert len(drawn) >= 6
        assert min(frame) <= min(map(min, drawn))
        assert max(map(max, drawn)) <= max(frame)
        texts = [part.text or "" for part in root.iter(f"{SVG}text")]
        assert {"A", "B", "C"} <= set(texts)
        ticks.append([each for each in texts if each[0].isdigit()])
    assert ticks[0] == ticks[1] == ticks[2] != ticks[3]


def text(part: ElementTree.Element) -> str:
    return ElementTree.tostring(part, encoding="unicode")


def xs(part: ElementTree.Element) -> list[float]:
    """Horizontal coordinates of a path, or of a marker that is placed."""
    outline = "".join(path.get("d", "") for path in part.iter(f"{SVG}path") if path.get("id") is None)
    placed = [float(use.get("x", "0")) for use in part.iter(f"{SVG}use")]
    return placed or [float(x) for x in re.findall(r"[ML] ([\d.]+)", outline)]
