"""Pages for the tests of the report, each with the width of its frame and a script that returns what to check."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from stages.scoring.over_time import Curve
from stages.scoring.page.document import report_html, upload_html
from stages.scoring.rows import SongScore
from stages.songs import DIMENSIONS

EVIL = "</script><script>document.title='owned'</script><img src=x onerror=alert(1)>"
LONG = "x" * 200
GROUP_NAMES = ("song", "length", "notes", "Clarity")


class Case(NamedTuple):
    """A page, the width of its frame in pixels, and the body of a function that returns what to check."""

    page: str
    script: str
    width: int = 1300


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


def many() -> Case:
    script = """
      const cells = (at) => [...document.querySelectorAll("tr.song")].map((row) => row.cells[at].textContent);
      const texts = (row) => [...row.cells].map((cell) => cell.textContent);
      const count = (selector) => document.querySelectorAll(selector).length;
      const click = (key) => document.querySelector(`button[data-key="${key}"]`).click();
      const text = (id) => document.getElementById(id).textContent;
      const pageOf = () => [text("page"), count("tr.song"), cells(0)[0]];
      const fire = (id, value, event) => { byId(id).value = value; byId(id).dispatchEvent(new Event(event)); };
      const choose = (songs) => fire("per-page", songs, "change");
      const found = { title: document.title, heading: document.querySelector("h1").textContent, counts: text("counts"),
        failed: text("failed"), start: cells(7).slice(0, 3), all: text("shown"), pages: [] };
      choose("Infinity");
      click("Clarity"); found.down = cells(5);
      click("Clarity"); found.up = cells(5);
      click("song"); found.names = cells(0);
      choose("50"); found.pages.push(pageOf());
      byId("next").click(); found.pages.push(pageOf());
      choose("100"); turn(99); found.pages.push(pageOf(), byId("next").disabled);
      dispatchEvent(new Event("beforeprint")); found.printed = count("tr.song");
      dispatchEvent(new Event("afterprint"));
      fire("filter", "SONG 99", "input");
      found.filtered = cells(0);
      found.shown = [text("shown"), text("download"), csvText(filtered()).split("\\n").length];
      fire("filter", "nothing", "input");
      found.nothing = [text("shown"), byId("download").disabled];
      fire("filter", "SONG 99", "input"); found.nothing.push(byId("download").disabled);
      document.querySelector("tr.song").click();
      found.details = count("tr.details svg");
      found.summary = [...document.querySelectorAll("#summary tr[data-dimension]")].map(texts);
      found.groups = [...document.querySelectorAll("#groups-table tr")].map(texts);
      found.cards = count("#best .card") + count("#worst .card");
      found.histograms = count("#histograms svg");
      found.images = document.images.length;
      return found;"""
    return Case(report_html(make_rows(1000), DIMENSIONS, title="Scores of <b>", by="system"), script)


def keys() -> Case:
    """Keys are pressed where the focus is."""
    script = """
      const pressed = (key) => new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true });
      const press = (key) => document.activeElement.dispatchEvent(pressed(key));
      const where = () => document.activeElement.textContent, found = [];
      press("/"); found.push(document.activeElement.id);
      press("ArrowDown"); const first = where();
      press("ArrowDown"); const second = where();
      press("ArrowUp"); found.push(where() === first, second !== first);
      document.activeElement.click(); found.push(document.activeElement.getAttribute("aria-expanded"));
      press("Escape"); found.push(document.querySelectorAll("tr.details").length, where() === first);
      press("End"); const last = where();
      press("PageDown"); found.push(byId("page").textContent, where() !== last);
      return [...found, document.querySelectorAll('tr.song button[tabindex="0"]').length];"""
    return Case(report_html(make_rows(60), DIMENSIONS), script)


def group_named(by: str) -> Case:
    script = """const cells = (at) => [...document.querySelectorAll("tr.song")].map((row) => row.cells[at].textContent);
      const heads = () => [...document.querySelectorAll("#songs th")];
      const sorted = heads().map((_, at) => {
        heads()[at].querySelector("button").click();
        return heads().findIndex((head) => head.hasAttribute("aria-sort"));
      });
      heads()[1].querySelector("button").click();
      return { groups: cells(1), sorted, title: heads()[1].textContent };"""
    return Case(report_html(make_rows(6), DIMENSIONS, by=by), script)


def same_ids() -> Case:
    rows = [
        SongScore(song_id=song_id, path=path, scores={"Musicality": 3.0 + number})
        for number, (song_id, path) in enumerate([("001", "b/001.wav"), ("001", "a/001.wav"), ("x/002", "c/x/002.wav")])
    ]
    script = """const texts = (selector) => [...document.querySelectorAll(selector)].map((node) => node.textContent);
      document.querySelector('button[data-key="song"]').click();
      return { table: [...document.querySelectorAll("tr.song")].map((row) => row.cells[0].textContent),
        cards: texts("#best .name bdi"), worst: texts("#worst .name bdi") };"""
    return Case(report_html(rows, ["Musicality"]), script)


def novel() -> Case:
    row = SongScore(song_id="a", path="a.mp3", scores={"Musicality": 3.5}, novelty=1.000001)
    script = "return [...document.querySelectorAll('.flag')].map((flag) => flag.textContent);"
    return Case(report_html([row], ["Musicality"]), script)


def silence() -> Case:
    levels = {"silent": -140.0, "good": -10.0, "bad": -10.0}
    rows = [
        SongScore(song_id=name, path="", scores={"A": 4.0 - number}, loudest=level)
        for number, (name, level) in enumerate(levels.items())
    ]
    script = """const names = (id) => [...byId(id).querySelectorAll(".name bdi")].map((node) => node.textContent);
      const found = [names("best"), names("worst"), byId("extremes").hidden];
      data.rows.length = 1;
      draw();
      return [...found, byId("extremes").hidden];"""
    return Case(report_html(rows, ["A"]), script)


def few(*rows: SongScore) -> Case:
    script = """return { heads: [...document.querySelectorAll("#songs th")].map((cell) => cell.textContent),
      worst: byId("worst").parentNode.hidden, all: byId("all").hidden, counts: byId("counts").textContent };"""
    return Case(report_html(rows, ["Musicality"]), script)


def curve_of(*seconds: float) -> Case:
    """A song of 130 s whose scores rise from 2 to 4, and a preview of 40 s to 60 s."""
    values = tuple(np.linspace(2, 4, len(seconds)).tolist())
    curve = Curve(seconds=seconds, window=10.0, hop=2.0, scores=dict.fromkeys(DIMENSIONS, values))
    row = SongScore(song_id="a", path="a.mp3", scores=dict.fromkeys(DIMENSIONS, 3.0), seconds=130.0, curve=curve)
    script = """Object.assign(data.rows[0], { audio: "data:,", audio_start: 40, audio_seconds: 20 });
      const places = [];
      HTMLMediaElement.prototype.play = function () { places.push(this.currentTime); };
      const toggle = () => document.querySelector("tr.song").click();
      const open = () => { toggle(); return document.querySelector("tr.details .player"); };
      const slider = open(), svg = slider.querySelector("svg"), texts = (node) => [...node.querySelectorAll("text")];
      const press = (key) => slider.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
      const isTime = (text) => text.textContent.includes(":");
      const told = () => slider.getAttribute("aria-valuetext");
      const found = { lines: [...svg.querySelectorAll("polyline")].map((line) => line.getAttribute("points")),
        times: texts(svg).filter(isTime).map((text) => [text.textContent, text.getAttribute("text-anchor")]) };
      press("End"); found.end = told();
      press("Enter"); found.outside = told();
      press("Home"); for (let at = 0; at < 25; at += 1) press("ArrowRight");
      found.middle = told();
      press("Enter");
      found.places = places;
      toggle();
      byId("full").click();
      found.scale = texts(open()).filter((text) => !isTime(text)).map((text) => text.textContent);
      return found;"""
    return Case(report_html([row], DIMENSIONS), script)


def layout(width: int, dimensions: int) -> Case:
    """Long names, names from right to left, and another model's four scores."""
    names = [f"{'A long name of a dimension' if number % 2 else LONG} {number}" for number in range(dimensions)]
    curve = Curve(seconds=(5.0, 7.0), window=10.0, hop=2.0, scores=dict.fromkeys(names, (3.0, 3.5)))
    other = {"audiobox": dict.fromkeys(("CE", "CU", "PC", "PQ"), 7.5)}
    songs = ("שיר ערבית", LONG, "🎵 東京", EVIL)
    rows = [
        SongScore(song_id=song, path=song, group=LONG, scores=dict.fromkeys(names, 3.0), curve=curve, beside=other)
        for song in songs
    ]
    rows.append(SongScore(song_id=LONG, path=LONG, error=LONG))
    beside = {"audiobox": {"CE": {"scale": [1, 10], "srcc": {names[0]: 0.5}}}}
    facts = {"heads": LONG}
    script = """document.querySelectorAll("tr.song").forEach((row) => row.click());
      const boxes = [...document.querySelectorAll("#histograms .card")].map((card) => card.getBoundingClientRect());
      const bars = [...document.querySelectorAll("#songs .bar")].map((bar) => bar.getBoundingClientRect().width);
      const overflow = document.documentElement.scrollWidth - document.documentElement.clientWidth;
      const lines = new Set(boxes.map((box) => box.top)).size;
      return { overflow, cards: boxes.length, lines, bars: new Set(bars).size,
        models: [...document.querySelectorAll(".models th")].map((head) => head.textContent),
        scores: document.querySelector("tr.song").querySelectorAll("td.score.other").length };"""
    return Case(report_html(rows, names, by="system", beside=beside, facts=facts), script, width)


def upload() -> Case:
    row = {**make_rows(3)[2].to_json(), "audio": "data:,"}
    script = f"""const before = byId("counts").textContent;
      data.rows.push({json.dumps(row)}); draw();
      const players = document.querySelectorAll("#best audio").length;
      const overflow = document.documentElement.scrollWidth - document.documentElement.clientWidth;
      add([]);
      const reason = reasonOf({{ name: "a.mp3" }}, {{ detail: "a.mp3: is empty" }});
      return {{ before, players, overflow, form: byId("files") !== null, open: byId("introduction").open, reason }};"""
    introduction = f'<details id="introduction" open><summary>About</summary><p>{LONG}</p></details>'
    return Case(upload_html(DIMENSIONS, title="HEAR", introduction=introduction), script, 390)


def hostile_csv() -> Case:
    return Case(report_html(csv_rows(), ["A", "B"]), "return csvText(filtered());")


def csv_rows() -> list[SongScore]:
    names = ["=1+1", "-0.5", "a;=2", 'quote "', "comma, \n line", "\r", "  @x", "+", "'=1", "ö 🎵", "-", "-1;-2", "1e5"]
    rows = [SongScore(song_id=name, path=name, group=name, scores={"A": 3.25, "B": 1 / 3}) for name in names]
    rows[0] = replace(rows[0], spread={"A": 0.5, "B": 0.25}, novelty=1.5, loudest=-90.0, caution="=caution")
    rows[1] = replace(rows[1], beside={"m": {"x": 7.5, "y": 2.0}, "n": {"x": 1.0}})
    rows[2] = SongScore(song_id="bad", path="", error="-bad, very", beside={"m": {"z": 1.0}})
    return rows


CASES: dict[str, Callable[[], Case]] = {
    "many": many,
    "keys": keys,
    **{f"by {name}": lambda name=name: group_named(name) for name in GROUP_NAMES},
    "same ids": same_ids,
    "novel": novel,
    "silence": silence,
    "no width": lambda: curve_of(65.0)._replace(width=0),
    "one": lambda: few(SongScore(song_id="a", path="a.mp3", scores={"Musicality": 3.5})),
    "none": few,
    "failed": lambda: few(SongScore(song_id="b", path="b.mp3", error="is empty")),
    "window": lambda: curve_of(65.0),
    "curve": lambda: curve_of(*np.arange(5.0, 126.0, 2.0).tolist()),
    **{
        f"{width} px, {count}": lambda width=width, count=count: layout(width, count)
        for width in (390, 1300)
        for count in (1, 5)
    },
    "upload": upload,
    "csv": hostile_csv,
}
