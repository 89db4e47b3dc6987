"""Public objects in notebooks and consoles; untrusted names are escaped."""

from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

import hear_music as hear

EVIL = "<img src=x onerror=y>\x1b[2J\u202e"
SAFE = "&lt;img src=x onerror=y&gt;\\x1b[2J\\u202e"


class Text(HTMLParser):
    """The cells of a table as text, and the tags around them."""

    def __init__(self, shown: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.texts: list[str] = []
        self.feed(shown)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.texts.append(data)


TABLE = {"caption", "table", "thead", "tbody", "tr", "th", "td"}


@pytest.fixture
def head(work_folder: Path) -> hear.Head:
    return hear.load_head(work_folder / "models" / "track2")


def test_a_head(head: hear.Head) -> None:
    scores, streams = ", ".join(hear.DIMENSIONS), "musicfm/segment, muq/segment, musicfm/track, muq/track"
    assert repr(head) == f"<Head: {scores} from {streams}; 0.03 M parameters>"
    shown = Text(head._repr_html_())
    assert shown.texts[:3] == ["Head", "scores", scores]
    assert shown.texts[3:9] == ["streams", streams, "layers", "2", "channels", "64"]


def test_a_report_of_training(work_folder: Path) -> None:
    config = hear.TrainConfig(size="small", epochs=1, device="cpu")
    place = work_folder / f"<b>{EVIL[-1]}"
    report = hear.train(
        work_folder / "embeddings.zarr", work_folder / "manifest.csv", track=1, out=place, config=config
    )
    assert repr(report) == f"<TrainReport of {str(place)!r}: {report.line}>"
    shown = Text(report._repr_html_())
    assert shown.texts[:6] == [f"{work_folder}/<b>\\u202e: {report.line}", "LCC", "SRCC", "KTAU", "TTA", "Musicality"]
    assert shown.texts[6] == f"{report.metrics['Musicality']['LCC']:.3f}"
    again = hear.train(
        work_folder / "embeddings.zarr", work_folder / "manifest.csv", track=1, out=place, config=config, resume=True
    )
    assert (again.folder, again.trained) == (place, False)
    with pytest.raises(hear.HeadError, match="track: expected 1 or 2, found 3"):
        hear.train(work_folder / "embeddings.zarr", work_folder / "manifest.csv", track=3, out=place)


def test_a_scorer(work_folder: Path) -> None:
    place = work_folder / "models" / "track2"
    scorer = hear.Scorer.load(place, place, windows=hear.Windows(1.0, 0.5), device="cpu", precision="fp32")
    caution = "trained on the demo: meaningless for music"
    assert repr(scorer) == (f"<Scorer: {', '.join(hear.DIMENSIONS)}; 2 heads on musicfm, muq, fp32 on cpu; {caution}>")
    texts = Text(scorer._repr_html_()).texts
    assert texts[0] == "Scorer"
    with pytest.raises(hear.ScoringError, match=r"^none\.mp3: cannot be read"):
        scorer.score("none.mp3")
    assert texts[-4:] == ["over time", "windows of 1 s every 0.5 s", "caution", caution]


def test_scores() -> None:
    good = hear.SongScore(
        song_id="good", path="", scores={"Clarity": 3.456, "Musicality": 4.0}, novelty=1.5, caution="a demo"
    )
    failed = hear.SongScore(song_id="bad", path="", error="cannot be decoded")
    assert repr(good) == "<SongScore 'good': Clarity 3.46, Musicality 4.00 (novelty 1.50; a demo)>"
    table = hear.ScoreTable([good, failed])
    assert repr(table).splitlines() == [
        "<ScoreTable of 2 songs, 1 not scored>",
        f"  {good!r}",
        "  <SongScore 'bad': error: cannot be decoded>",
    ]
    shown = Text(table._repr_html_())
    assert shown.texts[:5] == ["Scores of 2 songs, 1 not scored; a demo", "song", "Clarity", "Musicality", "warning"]
    assert shown.texts[5:8] == ["good", "3.46", "4.00"]
    assert shown.texts[8].startswith("unlike the training songs")
    assert shown.texts[9:] == ["bad", "cannot be decoded"]
    assert Text(good._repr_html_()).texts[0] == "Scores of 1 song; a demo"


def test_a_probe(work_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(work_folder)
    config = hear.ProbeConfig(target="system", model="knn", cv=4)
    report = hear.probe("embeddings.zarr", config, manifest="manifest.csv", out="shown")
    figure = report.scores.probe["accuracy"]
    assert repr(report).startswith(f"<ProbeReport of 'system' by knn: accuracy {figure.value:.3f} [")
    assert Text(report._repr_html_()).texts == [report.to_text()]
    probe, found = hear.load_probe("shown"), hear.apply_probe("shown", "embeddings.zarr")
    assert repr(probe) == "<Probe of 'system': classification by knn on 4 streams, 2 classes>"
    assert Text(probe._repr_html_()).texts[-2:] == ["classes", "a, b"]
    assert repr(found) == "<ProbePredictions: 8 songs scored>"
    assert Text(found._repr_html_()).texts[:5] == [
        "Predictions: 8 songs scored",
        "song_id",
        "predicted",
        "score:a",
        "score:b",
    ]


def test_names_from_strangers_are_escaped(head: hear.Head, work_folder: Path) -> None:
    config = replace(head.config, dimensions=tuple(f"{EVIL}{number}" for number in range(5)))
    row = hear.SongScore(song_id=EVIL, path=EVIL, scores={EVIL: 3.0}, caution=EVIL)
    store = hear.open_store(work_folder / "embeddings.zarr")
    probe = hear.Probe(
        target=EVIL, task="classification", model="knn", setting=1.0, streams=(EVIL,), pooling="mean", classes=(EVIL,),
        spec=store.spec, predictor=np.nan,
    )  # fmt: skip
    applied = hear.ProbePredictions(({"song_id": EVIL, "predicted": EVIL},), ())
    for shown in (type(head)(head.model, config), row, hear.ScoreTable([row]), probe, applied):
        assert repr(shown).isprintable() or type(shown) is hear.ScoreTable
        text = shown._repr_html_()
        assert SAFE in text
        assert Text(text).tags <= TABLE
