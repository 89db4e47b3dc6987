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
EVIL = "<img src=x onerror=y>\x1b[2J\u202e$\\frac$"
SAFE = "<img src=x onerror=y>\\x1b[2J\\u202e$\\frac$"


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
            self.rows[-1][-1] += data.strip()


def test_the_page_has_every_system_with_figures_and_conclusions(make_systems: Systems, tmp_path: Path) -> None:
    rows = make_systems(A=0.0, B=0.4)
    evil = [[replace(row, beside={EVIL: {"CE": 1.0}}) for row in each] for each in rows.values()]
    found = compare_scores({EVIL: evil[0], "B": evil[1]}, draws=50)
    page = write_leaderboard(tmp_path / "päge", replace(found, caution="trained on <b>")).read_text(encoding="utf-8")
    cells = Cells(page)
    assert "img" not in cells.tags
    assert "script" not in cells.tags
    assert "trained on &lt;b&gt;" in page
    first, best, last = cells.rows[:3]
    assert first == ["system", "songs", "Coherence", "Musicality", "Mean", f"{SAFE}.CE"]
    mean = found.systems[1].figures["Mean"]["score"]
    assert (best[0], best[4]) == ("B", f"{mean.value:.3f}[{mean.low:.2f}, {mean.high:.2f}]rank 1")
    assert last[0] == SAFE
    assert "\x1b" not in page
    assert "\u202e" not in page
    assert cells.rows[4][2] == "B scores higher"
    assert len(cells.rows) == 3 + 1 + len(found.differences)


def test_intervals_are_inside_the_frame_and_axes_are_shared(make_systems: Systems) -> None:
    drawings = draw_figures(compare_scores(make_systems(A=0.0, B=0.4, C=-1.0), draws=50))
    ticks = []
    for drawing in drawings:
        root = ElementTree.fromstring(f'<page xmlns:xlink="x">{drawing}</page>')
        (frame,) = root.iter("rect")
        left = float(frame.get("x", ""))
        blue = [part for part in root.iter() if "stroke: #0072b2" in part.get("style", "") and part.get("id") is None]
        # Per system a line from end to end, and a point.
        drawn = [float(x) for part in blue for x in re.findall(r"[ML] ([\d.]+)", part.get("d", "")) or [part.get("x")]]
        assert len(drawn) == 3 * 3
        assert left < min(drawn)
        assert max(drawn) < left + float(frame.get("width", ""))
        texts = [part.text or "" for part in root.iter("text")]
        assert {"A", "B", "C"} <= set(texts)
        ticks.append([each for each in texts if each[0].isdigit()])
    assert ticks[0] == ticks[1] == ticks[2] != ticks[3]
