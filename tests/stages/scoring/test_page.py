"""The report, in a real browser if this machine has one, and without."""

import base64
import io
import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from stages.common.processes import Processes
from stages.scoring.errors import ScoringError
from stages.scoring.page.document import report_html, upload_html, write_report
from stages.scoring.page.previews import preview, preview_extremes
from stages.scoring.rows import Curve, SongScore
from stages.scoring.statistics import distributions
from stages.songs import DIMENSIONS

EVIL = "</script><script>document.title='owned'</script><img src=x onerror=alert(1)>"


def make_rows(count: int) -> list[SongScore]:
    """Songs with curves in three groups; one is named `EVIL`, one failed, and one has a warning."""
    generator = np.random.default_rng(0)
    seconds = tuple(5.0 + 2 * number for number in range(60))
    rows = []
    for number, scores in enumerate(generator.uniform(1.5, 4.5, (count, 5)).tolist()):
        about = {"song_id": f"song {number}", "path": f"songs/song {number}.mp3", "group": f"g{number % 3}"}
        if number == 1:
            rows.append(SongScore(**about, error=f"{EVIL}: is empty"))
            continue
        curves = {name: tuple([score] * 60) for name, score in zip(DIMENSIONS, scores, strict=True)}
        rows.append(
            SongScore(
                **{**about, **({"song_id": EVIL, "group": EVIL} if number == 0 else {})},
                scores=dict(zip(DIMENSIONS, scores, strict=True)),
                spread=dict.fromkeys(DIMENSIONS, 0.25),
                novelty=1.25 if number == 2 else 0.5,
                seconds=130.0,
                curve=Curve(seconds=seconds, window=10.0, hop=2.0, scores=curves),
            )
        )
    return rows


def test_a_thousand_songs_can_be_sorted_filtered_and_opened(browse: Callable[[str, str], dict]) -> None:
    rows = make_rows(1000)
    page = report_html(rows, DIMENSIONS, title="Scores of <b>", by="system", about="scored by a")
    found = browse(
        page,
        """
        const cells = (at) => [...document.querySelectorAll("tr.song")].map((row) => row.cells[at].textContent);
        const texts = (row) => [...row.cells].map((cell) => cell.textContent);
        const count = (selector) => document.querySelectorAll(selector).length;
        const click = (key) => document.querySelector(`button[data-key="${key}"]`).click();
        const found = { title: document.title, heading: document.querySelector("h1").textContent,
          counts: document.getElementById("counts").textContent, start: cells(7).slice(0, 3) };
        click("Clarity"); found.down = cells(5);
        click("Clarity"); found.up = cells(5);
        click("song"); found.names = cells(0);
        const filter = document.getElementById("filter");
        filter.value = "SONG 99"; filter.dispatchEvent(new Event("input"));
        found.filtered = cells(0);
        document.querySelector("tr.song").click();
        found.details = count("tr.details svg");
        found.summary = [...document.querySelectorAll("#summary tr[data-dimension]")].map(texts);
        found.groups = [...document.querySelectorAll("#groups-table tr")].map((row) => texts(row).slice(0, 2).join(""));
        found.cards = count("#best .card") + count("#worst .card");
        found.histograms = count("#histograms svg");
        found.images = document.images.length;
        return found;
        """,
    )
    assert found["title"] == found["heading"] == "Scores of <b>"
    assert found["counts"] == "999 songs scored · 1 failed · 1 unlike the training songs · scored by a"
    scored = [row for row in rows if row.scores]
    best = sorted((row.overall for row in scored), reverse=True)
    assert found["start"] == [f"{value:.2f}" for value in best[:3]]
    clarity = sorted(row.scores["Clarity"] for row in scored)
    assert found["up"] == [*(f"{value:.2f} ±0.25" for value in clarity), "–"]
    assert found["down"] == [*(f"{value:.2f} ±0.25" for value in reversed(clarity)), "–"]
    assert found["names"][:3] == [EVIL, "song 1", "song 2"]
    assert found["names"][-1] == "song 999"
    assert found["filtered"] == ["song 99", *(f"song {number}" for number in range(990, 1000))]
    assert found["details"] == 2
    expected = distributions(rows)
    assert [line[0] for line in found["summary"]] == list(expected)
    for line in found["summary"]:
        one = expected[line[0]]
        assert [float(value) for value in line[1:]] == pytest.approx([one.mean, one.median, one.p5, one.p95], abs=0.006)
    assert sorted(found["groups"]) == sorted(["systemsongs", f"{EVIL}1", "g0333", "g1332", "g2333"])
    assert (found["cards"], found["histograms"], found["images"]) == (10, 6, 0)


@pytest.mark.parametrize("by", ["song", "length", "notes", "Clarity"])
def test_a_group_may_have_the_name_of_a_column(browse: Callable[[str, str], dict], by: str) -> None:
    script = """const cells = (at) => [...document.querySelectorAll("tr.song")].map((row) => row.cells[at].textContent);
      const heads = () => [...document.querySelectorAll("#songs th")];
      const sorted = heads().map((_, at) => {
        heads()[at].querySelector("button").click();
        return heads().findIndex((head) => head.hasAttribute("aria-sort"));
      });
      heads()[1].querySelector("button").click();
      return { groups: cells(1), sorted, title: heads()[1].textContent };"""
    found = browse(report_html(make_rows(6), DIMENSIONS, by=by), script)
    assert found["sorted"] == list(range(10))
    assert found["groups"] == [EVIL, "g0", "g1", "g1", "g2", "g2"]
    assert found["title"] == by


def test_songs_with_the_same_id_are_named_by_their_paths(browse: Callable[[str, str], dict]) -> None:
    rows = [
        SongScore(song_id=song_id, path=path, scores={"Musicality": 3.0 + number})
        for number, (song_id, path) in enumerate([("001", "b/001.wav"), ("001", "a/001.wav"), ("x/002", "c/x/002.wav")])
    ]
    script = """const texts = (selector) => [...document.querySelectorAll(selector)].map((node) => node.textContent);
      document.querySelector('button[data-key="song"]').click();
      return { table: [...document.querySelectorAll("tr.song")].map((row) => row.cells[0].textContent),
        cards: texts("#best .name span:first-child"), worst: texts("#worst .name span:first-child") };"""
    found = browse(report_html(rows, ["Musicality"]), script)
    assert found == {
        "table": ["a/001.wav", "b/001.wav", "x/002"],
        "cards": ["x/002", "a/001.wav"],
        "worst": ["b/001.wav"],
    }


def test_novelty_just_above_1_is_not_shown_as_1(browse: Callable[[str, str], dict]) -> None:
    row = SongScore(song_id="a", path="a.mp3", scores={"Musicality": 3.5}, novelty=1.000001)
    found = browse(
        report_html([row], ["Musicality"]),
        'return { flags: [...document.querySelectorAll(".flag")].map((flag) => flag.textContent) };',
    )
    assert found["flags"] == ["⚠ unlike the training songs (novelty more than 1.00)", "⚠ novelty more than 1.00"]


def test_one_dimension_and_no_songs(browse: Callable[[str, str], dict]) -> None:
    row = SongScore(song_id="a", path="a.mp3", scores={"Musicality": 3.5})
    script = """return { heads: [...document.querySelectorAll("#songs th")].map((cell) => cell.textContent),
      worst: document.getElementById("worst").parentNode.hidden, all: document.getElementById("all").hidden };"""
    assert browse(report_html([row], ["Musicality"]), script) == {
        "heads": ["song", "Musicality", "length", "notes"],
        "worst": True,
        "all": False,
    }
    assert browse(report_html([], ["Musicality"]), script)["all"] is True
    failed = SongScore(song_id="b", path="b.mp3", error="is empty")
    assert browse(report_html([failed], ["Musicality"]), script)["all"] is False


def test_a_single_window_is_drawn_from_the_beginning_to_the_end(browse: Callable[[str, str], dict]) -> None:
    curve = Curve(seconds=(5.0,), window=10.0, hop=2.0, scores=dict.fromkeys(DIMENSIONS, (3.0,)))
    row = SongScore(song_id="a", path="a.mp3", scores=dict.fromkeys(DIMENSIONS, 3.0), seconds=10.0, curve=curve)
    script = """document.querySelector("tr.song").click();
      const labels = [...document.querySelectorAll("tr.details text")].filter((text) => / s$/.test(text.textContent));
      return { anchors: labels.map((text) => text.getAttribute("text-anchor")),
        lines: [...document.querySelectorAll("tr.details polyline")].map((line) => line.getAttribute("points")) };"""
    found = browse(report_html([row], DIMENSIONS), script)
    # The labels "0 s" and "10 s" are at the edges, inside the drawing.
    assert found["anchors"] == ["start", *["middle"] * 9, "end"]
    lines = found["lines"]
    assert len(lines) == 5
    for line in lines:
        (left, low), (right, high) = (map(float, point.split(",")) for point in line.split(" "))
        # The drawing is 620 wide, with 30 left and 8 right of the axes.
        assert (left, right) == (30, 612)
        assert low == high


def test_the_upload_page_adds_songs(browse: Callable[[str, str], dict]) -> None:
    page = upload_html(DIMENSIONS, title="HEAR")
    row = {**make_rows(3)[2].to_json(), "audio": "data:,"}
    script = f"""data.rows.push({json.dumps(row)}); draw();
      const players = document.querySelectorAll("#best audio").length;
      return {{ players, form: document.getElementById("files") !== null }};"""
    assert browse(page, script) == {"players": 1, "form": True}


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


def test_the_browser_can_play_the_previews(dump: Callable[[str], dict], song_folder: Path, tmp_path: Path) -> None:
    rows = [SongScore(song_id="a", path="a.wav", scores={"Musicality": 3.5})]
    previews = preview_extremes(rows, [song_folder / "söng 0.wav"])
    load = """<script>
      const audio = document.querySelector("#best audio");
      const report = (event) => {
        document.body.dataset.found = JSON.stringify({ event: event.type, seconds: audio.duration });
      };
      for (const name of ["canplaythrough", "error"]) audio.addEventListener(name, report);
      audio.preload = "auto";
      audio.load();
    </script></body>"""
    path = write_report(tmp_path, report_html(rows, ["Musicality"], previews=previews).replace("</body>", load))
    found = dump(path.as_uri())
    assert found == {"event": "canplaythrough", "seconds": pytest.approx(2.0, abs=0.15)}


def test_previews_are_excerpts_of_the_best_and_worst(song_folder: Path, tmp_path: Path) -> None:
    rows = [SongScore(song_id=str(number), path="", scores={"A": 1 + number / 10}) for number in range(20)]
    rows[19] = SongScore(song_id="19", path="", error="bad")
    paths: list[Path | None] = [song_folder / "söng 0.wav"] * 20
    paths[0], paths[1] = None, tmp_path / "gone.wav"
    found = preview_extremes(rows, paths)
    assert sorted(found) == [1, 2, 3, 4, 14, 15, 16, 17, 18]
    assert found[1].uri == ""
    assert "No such file" in found[1].problem
    sound = base64.b64decode(found[18].uri.removeprefix("data:audio/mpeg;base64,"))
    samples, rate = soundfile.read(io.BytesIO(sound))
    assert rate == 24_000
    assert len(samples) / rate == pytest.approx(2.0, abs=0.1)
    assert np.sqrt(np.mean(samples[12_000:36_000] ** 2)) > 0.1


def test_a_preview_is_short_and_starts_at_the_given_time(tmp_path: Path) -> None:
    loud = np.zeros(60 * 8_000, np.float32)
    loud[30 * 8_000 : 55 * 8_000] = np.sin(np.arange(25 * 8_000) * 0.3) * 0.5
    soundfile.write(tmp_path / "long.wav", loud, 8_000)
    with Processes(1) as processes:
        starts = (None, 0.0, 33.0, 1e6)
        found = {start: preview(tmp_path / "long.wav", processes, start=start).uri for start in starts}
    for start, quiet in zip(starts, (10.0, 20.0, 0.2, 0.2), strict=True):
        sound = base64.b64decode(found[start].partition(",")[2])
        samples, rate = soundfile.read(io.BytesIO(sound))
        assert len(samples) / rate == pytest.approx(20.0, abs=0.1)
        assert len(sound) < 200_000
        begun = np.flatnonzero(np.abs(samples) > 0.2)
        assert (begun[0] / rate if len(begun) else 20.0) == pytest.approx(quiet, abs=0.3)
