"""Cautions and warnings beside scores that cannot be trusted, in every place where scores appear."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from matplotlib.image import imread

from stages.extract.audio.loudness import LOWEST_DBFS
from stages.extract.config import ExtractConfig
from stages.extract.encoders import MultiScale
from stages.extract.run import Extractor
from stages.head.checkpoint.encoders import CAUTION
from stages.head.checkpoint.ensemble import Ensemble
from stages.head.checkpoint.head import Head
from stages.scoring.inputs import expand_inputs, store_songs
from stages.scoring.journal import resume_key
from stages.scoring.page.document import report_html, upload_html
from stages.scoring.plots import plot_song
from stages.scoring.rows import SongScore
from stages.scoring.run import Scoring
from stages.scoring.sources.audio import AudioSource
from stages.scoring.sources.store import StoreSource
from stages.songs import DIMENSIONS
from store import EmbeddingStore, StoreWriter

SCORES = dict.fromkeys(DIMENSIONS, 3.0)
FINE = SongScore(song_id="fine", path="fine.mp3", scores=SCORES, novelty=0.5, loudest=-20.0)
SILENT = SongScore(song_id="silent", path="silent.mp3", scores=SCORES, novelty=0.5, loudest=LOWEST_DBFS)
NEARLY = SongScore(song_id="nearly", path="nearly.mp3", scores=SCORES, novelty=2.5, loudest=-90.4)
NOVEL = SongScore(song_id="novel", path="novel.mp3", scores=SCORES, novelty=1.5, loudest=-80.0)
CUT = SongScore(song_id="cut", path="cut.mp3", scores=SCORES, damage={"truncated": True, "missing": 2.34, "skipped": 3})
OLD = SongScore(song_id="old", path="old.mp3", scores=SCORES)


@pytest.fixture(scope="module")
def quiet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Songs of 2 s: `silent`, `nearly`, and `soft`, which is music attenuated by 30 dB."""
    folder = tmp_path_factory.mktemp("quiet")
    noise = np.random.default_rng(0).standard_normal(48_000)
    for name, samples in (("silent", 0 * noise), ("nearly", 1e-5 * noise), ("soft", 3e-3 * noise)):
        soundfile.write(folder / f"{name}.wav", samples, 24_000, subtype="FLOAT")
    return folder


@pytest.mark.parametrize(
    ("row", "warnings", "notes"),
    [
        (FINE, [], []),
        (OLD, [], []),
        (SILENT, ["silence: the song has no sound"], ["silence"]),
        (
            NEARLY,
            ["near-silence: the loudest second is at -90 dBFS (music is above -80 dBFS)", "unlike the training songs"],
            ["silence", "novelty 2.50"],
        ),
        (
            CUT,
            ["damaged: 2.3 s are missing and 3 of its packets could not be decoded; only the rest was"],
            ["damaged"],
        ),
        (NOVEL, ["unlike the training songs: novelty 1.50"], ["novelty 1.50"]),
    ],
)
def test_each_warning_is_shown_and_survives_a_file(row: SongScore, warnings: list[str], notes: list[str]) -> None:
    assert len(row.warnings) == len(warnings)
    assert all(found.startswith(expected) for found, expected in zip(row.warnings, warnings, strict=True))
    assert row.notes == notes
    assert row.warning == "; ".join(row.warnings)
    values = json.loads(json.dumps(row.to_json(), allow_nan=False))
    assert SongScore.from_json(values) == row
    assert values.get("warning", "") == row.warning


def test_a_truncated_song_has_a_warning_from_audio_and_from_a_store(
    quiet: Path, tmp_path: Path, ensemble: Ensemble, source: AudioSource, encoders: MultiScale
) -> None:
    """The file lacks its last twentieth."""
    from stages.extract.plan import SongTask
    from stages.extract.views.feed import ViewFeed

    content = (quiet / "soft.wav").read_bytes()
    (tmp_path / "cut.wav").write_bytes(content[: int(len(content) * 0.95)])
    (cut,) = Scoring(ensemble, source).score(expand_inputs([f"{tmp_path}/cut.wav"]))
    assert cut.row.damage == {"truncated": True, "missing": pytest.approx(0.1, abs=0.01)}
    assert "0.1 s are missing" in cut.row.warning
    spec = ExtractConfig(preset="tiny", muq="", musicfm="", layers=(2,), dtype="float32").spec(encoders)
    writer = StoreWriter.open(tmp_path / "store.zarr", spec)
    tasks = [SongTask("cut", tmp_path / "cut.wav", (0,)), SongTask("soft", quiet / "soft.wav", (0,))]
    tally = Extractor(encoders, writer, ViewFeed(processes=0), seed=0).run(tasks, report=lambda outcome: None)
    assert tally.damaged == {"cut"}
    store = EmbeddingStore.open(writer.root)
    # Untrusted attributes.
    writer.write("odd", 0, store.read("soft"), attributes={"missing": "all", "truncated": 3, "skipped": [1]})
    store = EmbeddingStore.open(writer.root)
    rows = [scored.row for scored in Scoring(ensemble, StoreSource(store, ensemble)).score(store_songs(store))]
    assert {row.song_id: dict(row.damage) for row in rows} == {"cut": cut.row.damage, "soft": {}, "odd": {}}


def test_silence_has_a_warning_from_audio(quiet: Path, ensemble: Ensemble, source: AudioSource) -> None:
    songs = expand_inputs(sorted(map(str, quiet.iterdir())))
    rows = {scored.row.song_id: scored.row for scored in Scoring(ensemble, source).score(songs)}
    assert {name: row.notes for name, row in rows.items()} == {"nearly": ["silence"], "silent": ["silence"], "soft": []}
    assert rows["silent"].loudest == LOWEST_DBFS
    assert rows["soft"].loudest == pytest.approx(-50.5, abs=0.5)


def test_silence_has_a_warning_from_a_store_that_records_the_level(
    quiet: Path, encoders: MultiScale, ensemble: Ensemble, tmp_path: Path
) -> None:
    from stages.extract.plan import SongTask
    from stages.extract.views.feed import ViewFeed

    spec = ExtractConfig(preset="tiny", muq="", musicfm="", layers=(2,), dtype="float32").spec(encoders)
    writer = StoreWriter.open(tmp_path / "store.zarr", spec)
    tasks = [SongTask(path.stem, path, (0,)) for path in sorted(quiet.iterdir())]
    tally = Extractor(encoders, writer, ViewFeed(processes=0), seed=0).run(tasks, report=lambda outcome: None)
    assert tally.done == 3
    store = EmbeddingStore.open(writer.root)
    assert store.attributes("silent")["loudest_dbfs"] == LOWEST_DBFS
    # No level, as in older stores, and untrusted levels.
    for number, attributes in enumerate(({}, {"loudest_dbfs": "low"}, {"loudest_dbfs": True})):
        writer.write(f"other {number}", 0, store.read("silent"), attributes=attributes)
    store = EmbeddingStore.open(writer.root)
    rows = [scored.row for scored in Scoring(ensemble, StoreSource(store, ensemble)).score(store_songs(store))]
    silent = {row.song_id for row in rows if row.is_silence}
    assert silent == {"silent", "nearly"}
    assert len(rows) == 6


def test_every_row_of_a_demo_head_has_the_caution_even_if_resumed(
    quiet: Path, encoders: MultiScale, make_head: Callable[..., Head]
) -> None:
    ensemble = Ensemble([make_head(0), make_head(1)])
    scoring = Scoring(ensemble, AudioSource(encoders, ensemble))
    songs = expand_inputs([f"{quiet}/soft.wav", f"{quiet}/gone.wav"])
    row, failed = (scored.row for scored in scoring.score(songs))
    assert row.caution == row.to_json()["caution"] == row.to_score()["caution"] == CAUTION
    assert failed.caution == ""
    earlier = SongScore.from_json({name: value for name, value in row.to_json().items() if name != "caution"})
    key = resume_key(row.song_id, row.path, row.source, row.model)
    (again,) = scoring.score(songs[:1], done={key: earlier})
    assert again.skipped
    assert again.row.caution == CAUTION


def test_the_report_distinguishes_silent_damaged_and_unlike_songs(browse: Callable[[str, str], dict]) -> None:
    rows = [FINE, SILENT, NEARLY, CUT, NOVEL, OLD]
    found = browse(
        report_html(rows, DIMENSIONS),
        """const texts = (found) => [...found].map((node) => node.textContent).sort();
        const flags = (where) => texts(document.querySelectorAll(`${where} .flag`));
        const found = { counts: document.getElementById("counts").textContent,
          table: flags("#songs"), cards: flags("#extremes"),
          caution: document.getElementById("caution").hidden };
        document.querySelector('button[data-key="notes"]').click();
        found.order = [...document.querySelectorAll("tr.song")].map((row) => row.cells[0].textContent);
        document.querySelectorAll("tr.song")[1].click();
        found.details = flags(".detail");
        return found;""",
    )
    assert found["counts"] == "6 songs scored · 2 silent · 1 damaged · 2 unlike the training songs"
    assert found["table"] == ["⚠ damaged", "⚠ novelty 1.50", "⚠ novelty 2.50", "⚠ silence", "⚠ silence"]
    # Silence is neither best nor worst.
    assert found["cards"] == [
        "⚠ damaged: part of the file could not be read",
        "⚠ unlike the training songs (novelty 1.50)",
    ]
    assert found["order"][:4] == ["silent", "nearly", "cut", "novel"]
    assert found["details"] == [f"⚠ {NEARLY.warning}"]
    assert found["caution"] is True


@pytest.mark.parametrize("kind", ["report", "service"])
def test_pages_of_a_demo_head_show_the_caution_at_the_top(browse: Callable[[str, str], dict], kind: str) -> None:
    rows = [replace(FINE, caution=CAUTION)]
    page = report_html(rows, DIMENSIONS) if kind == "report" else upload_html(DIMENSIONS, title="T", caution=CAUTION)
    script = """const box = document.getElementById("caution");
      return { text: box.textContent, shown: box.getBoundingClientRect().height > 10,
        above: box.getBoundingClientRect().bottom <= document.querySelector("main").getBoundingClientRect().top };"""
    assert browse(page, script) == {"text": f"⚠ {CAUTION}", "shown": True, "above": True}
    assert CAUTION in page


@pytest.mark.parametrize(
    ("row", "shown"),
    [(FINE, False), (SILENT, True), (NEARLY, True), (replace(FINE, caution=CAUTION), True)],
)
def test_a_plot_shows_warnings_in_red_at_the_bottom(row: SongScore, shown: bool, tmp_path: Path) -> None:
    plot_song(tmp_path / "a.png", row)
    picture = imread(tmp_path / "a.png")[-60:, :, :3]
    red = (picture[..., 0] > 0.6) & (picture[..., 1] < 0.2) & (picture[..., 2] < 0.3)
    assert bool(red.any()) is shown
