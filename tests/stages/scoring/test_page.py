"""The report in a real browser, if this machine has one: all pages in one window, each in a frame of its own."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stages.scoring.errors import ScoringError
from stages.scoring.files import write_csv
from stages.scoring.page.document import report_html, write_report
from stages.scoring.statistics import distributions, mean_intervals
from stages.songs import DIMENSIONS
from tests.stages.scoring.page_cases import CASES, EVIL, GROUP_NAMES, csv_rows, make_rows


@pytest.fixture(scope="module")
def found(dump: Callable[[str], dict], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What each case's script returned; all pages are frames of one page, because a browser takes seconds to start."""
    folder, frames = tmp_path_factory.mktemp("pages"), []
    for number, (name, make) in enumerate(CASES.items()):
        case = make()
        probe = f"""<script>let found;
          try {{ found = (() => {{ {case.script} }})(); }} catch (error) {{ found = error.stack; }}
          parent.postMessage([{json.dumps(name)}, found], "*");</script></body>"""
        (folder / f"{number}.html").write_text(case.page.replace("</body>", probe), encoding="utf-8")
        frames.append(f'<iframe src="{number}.html" width="{case.width}" height="900" style="border: 0"></iframe>')
    collect = f"""<body><script>const found = {{}};
      addEventListener("message", (event) => {{
        found[event.data[0]] = event.data[1];
        if (Object.keys(found).length === {len(CASES)}) document.body.dataset.found = JSON.stringify(found);
      }});</script>"""
    (folder / "all.html").write_text(collect + "".join(frames) + "</body>", encoding="utf-8")
    return dump((folder / "all.html").as_uri())


def test_a_thousand_songs_can_be_sorted_filtered_and_opened(found: dict[str, Any]) -> None:
    page, rows = found["many"], make_rows(1000)
    assert page["title"] == page["heading"] == "Scores of <b>"
    assert page["counts"] == "999 songs scored · 1 failed · 1 unlike the training songs"
    assert page["failed"] == f"song 1: {EVIL}: is empty"
    scored = [row for row in rows if row.scores]
    best = sorted((row.overall for row in scored), reverse=True)
    assert page["start"] == [f"{value:.2f}" for value in best[:3]]
    clarity = sorted(row.scores["Clarity"] for row in scored)
    assert page["up"] == [*(f"{value:.2f} ±0.25" for value in clarity), "–"]
    assert page["down"] == [*(f"{value:.2f} ±0.25" for value in reversed(clarity)), "–"]
    assert page["names"][:3] == [EVIL, "song 1", "song 2"]
    assert page["names"][-1] == "song 999"
    assert page["filtered"] == ["song 99", *(f"song {number}" for number in range(990, 1000))]
    assert page["shown"] == ["11 of 1,000 songs", "Download 11 songs as CSV", 13]
    assert page["nothing"] == ["0 of 1,000 songs", True, False]
    assert (page["cards"], page["histograms"], page["images"], page["details"]) == (10, 6, 0, 2)
    expected = distributions(rows)
    assert [line[0] for line in page["summary"]] == list(expected)
    for line in page["summary"]:
        one = expected[line[0]]
        assert [float(value) for value in line[1:]] == pytest.approx([one.mean, one.median, one.p5, one.p95], abs=0.006)


def test_many_songs_have_pages_and_all_are_printed(found: dict[str, Any]) -> None:
    page = found["many"]
    assert page["all"] == "1,000 songs"
    assert page["pages"] == [
        ["Page 1 of 20", 50, EVIL],
        ["Page 2 of 20", 50, "song 50"],
        ["Page 10 of 10", 100, "song 900"],
        True,
    ]
    assert page["printed"] == 1000


def test_groups_have_intervals_of_their_means(found: dict[str, Any]) -> None:
    head, *lines = found["many"]["groups"]
    assert head[:2] == ["system", "songs"]
    assert sorted(line[0] + line[1] for line in lines) == sorted([f"{EVIL}1", "g0333", "g1332", "g2333"])
    intervals = mean_intervals(make_rows(1000))
    for group, _, *means, _ in lines:
        ends = [f"{low:.2f}–{high:.2f}" for low, high in intervals[group].values()] or [""] * 6
        assert [mean[4:] for mean in means] == ends


def test_the_page_can_be_used_with_keys(found: dict[str, Any]) -> None:
    assert found["keys"] == ["filter", True, True, "true", 0, True, "Page 2 of 2", True, 1]


@pytest.mark.parametrize("by", GROUP_NAMES)
def test_a_group_may_have_the_name_of_a_column(found: dict[str, Any], by: str) -> None:
    page = found[f"by {by}"]
    assert page["sorted"] == list(range(10))
    assert page["groups"] == [EVIL, "g0", "g1", "g1", "g2", "g2"]
    assert page["title"] == by


def test_songs_with_the_same_id_are_named_by_their_paths(found: dict[str, Any]) -> None:
    assert found["same ids"] == {
        "table": ["a/001.wav", "b/001.wav", "x/002"],
        "cards": ["x/002", "a/001.wav"],
        "worst": ["b/001.wav"],
    }


def test_novelty_just_above_1_is_not_shown_as_1(found: dict[str, Any]) -> None:
    assert found["novel"] == ["⚠ unlike the training songs (novelty more than 1.00)", "⚠ novelty more than 1.00"]


def test_silence_is_neither_best_nor_worst(found: dict[str, Any]) -> None:
    assert found["silence"] == [["good"], ["bad"], False, True]


def test_a_page_that_is_not_shown_can_be_drawn(found: dict[str, Any]) -> None:
    assert "-" not in "".join(found["no width"]["lines"])


def test_one_dimension_and_no_songs(found: dict[str, Any]) -> None:
    heads = ["song", "Musicality", "length", "notes"]
    assert found["one"] == {"heads": heads, "worst": True, "all": False, "counts": "1 song scored"}
    assert found["none"]["all"] is True
    assert found["failed"]["all"] is False
    assert found["failed"]["counts"] == "0 songs scored · 1 failed"


def test_curves_go_from_the_beginning_to_the_end(found: dict[str, Any]) -> None:
    for name, ends in (("window", ("2.00", "2.00")), ("curve", ("2.00", "4.00"))):
        page = found[name]
        assert page["times"][0] == ["0:00", "start"]
        assert page["times"][-1] == ["2:10", "end"]
        assert len(page["lines"]) == 5
        points = [tuple(map(float, point.split(","))) for point in page["lines"][0].split(" ")]
        # The drawing is 620 wide, with 30 left and 8 right of the axes.
        assert (points[0][0], points[-1][0]) == (30, 612)
        # The first and the last window's scores last until the ends.
        assert (points[0][1], points[-1][1]) == (points[1][1], points[-2][1])
        assert page["end"] == ", ".join(["2:10", *(f"{one} {ends[1]}" for one in DIMENSIONS)])
        assert page["scale"] == ["1", "2", "3", "4", "5"]


def test_a_song_is_heard_from_a_point_of_its_curve(found: dict[str, Any]) -> None:
    page = found["curve"]
    assert page["outside"].endswith(", The preview covers 0:40 to 1:00.")
    assert page["middle"].startswith("0:50, Coherence 2.75")
    assert page["places"] == [10]


@pytest.mark.parametrize("width", [390, 1300])
@pytest.mark.parametrize("dimensions", [1, 5])
def test_no_name_breaks_the_layout(found: dict[str, Any], width: int, dimensions: int) -> None:
    page = found[f"{width} px, {dimensions}"]
    # One card per score, our mean, and the other model's four: in one line that scrolls, in a page that does not.
    cards = {1: 5, 5: 10}[dimensions]
    expected = {"overflow": 0, "cards": cards, "lines": 1, "bars": 1, "models": ["audiobox, 1 to 10"], "scores": 4}
    assert page == expected


def test_the_upload_page_adds_songs(found: dict[str, Any]) -> None:
    assert found["upload"] == {
        "before": "",
        "players": 1,
        "overflow": 0,
        "form": True,
        "open": False,
        "reason": "is empty",
    }


def test_the_download_is_the_csv_that_predict_writes(found: dict[str, Any], tmp_path: Path) -> None:
    write_csv(tmp_path / "scores.csv", csv_rows(), ["A", "B"])
    assert found["csv"].encode() == (tmp_path / "scores.csv").read_bytes()


def test_names_cannot_become_markup_and_the_page_loads_no_file() -> None:
    page = report_html(make_rows(3), DIMENSIONS, title=EVIL, by="system")
    assert "<img" not in page
    assert page.count("<script") == 2
    assert page.count("</script>") == 2
    assert re.findall(r"(?:src|href)=\"(?!data:)[^\"]*", page) == []
    assert set(re.findall(r"https?://[^\"' ]*", page)) == {"http://www.w3.org/2000/svg"}
    assert "default-src 'none'" in page


def test_the_report_is_written_atomically(tmp_path: Path) -> None:
    path = write_report(tmp_path / "new", "<p>ö</p>")
    assert path == tmp_path / "new" / "index.html"
    assert path.read_text(encoding="utf-8") == "<p>ö</p>"
    assert [file.name for file in path.parent.iterdir()] == ["index.html"]
    with pytest.raises(ScoringError, match=r"index\.html.index\.html: cannot be written"):
        write_report(path, "")
