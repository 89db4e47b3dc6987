"""`hear-head compare`, and `evaluate` with raters: usage, exit codes for CI, and files."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.cli import entry
from stages.head.checkpoint.head import Head, HeadConfig
from stages.head.checkpoint.saved import save_head
from stages.head.model.hear import HearHead
from stages.head.model.sizes import preset_sizes
from stages.scoring.files import write_csv
from stages.scoring.rows import SongScore
from stages.songs import DIMENSIONS, Song, write_manifest
from store import Spec, StoreWriter

HEADS = ["--manifest", "manifest.csv", "--store", "store.zarr", "--bootstrap", "20"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Scores `new.csv` and `old.csv`; two heads with random weights, `a` and `b`, with a store and ratings."""
    folder = tmp_path_factory.mktemp("a user's") / "Vergleich ü"
    folder.mkdir()
    generator = np.random.default_rng(0)
    quality = generator.uniform(2, 4, 30)
    for name, more in (("new", 0.3), ("old", 0.0)):
        scores = quality + more + generator.normal(0, 0.1, 30)
        rows = [SongScore(song_id=f"{number}", path="", scores={"Clarity": s}) for number, s in enumerate(scores)]
        write_csv(folder / f"{name}.csv", rows, ["Clarity"])
    spec = Spec(streams=("muq/track",), channels=8, encoders={"muq": "sha256:b"}, layers=(10,))
    writer = StoreWriter.open(folder / "store.zarr", spec)
    songs, lines = [], []
    for number in range(12):
        writer.write(str(number), 0, generator.normal(0, 1, (1, 20, 8)).astype(np.float32), attributes={"seconds": 1.0})
        raters = generator.integers(1, 6, (4, 5)).tolist()
        labels = dict(zip(DIMENSIONS, np.mean(raters, axis=0).tolist(), strict=True))
        songs.append(Song(str(number), folder / f"{number}.mp3", "val", "", labels, {}))
        annotation = [dict(zip(DIMENSIONS, row, strict=True)) for row in raters]
        lines.append(json.dumps({"file_name": f"{number}.mp3", "annotation": annotation}))
    write_manifest(folder / "manifest.csv", songs)
    (folder / "metadata.jsonl").write_text("\n".join(lines))
    for seed, name in enumerate("ab"):
        torch.manual_seed(seed)
        sizes = preset_sizes("small", features=8, classes=5)
        head = Head(HearHead(sizes), HeadConfig(sizes=sizes, dimensions=DIMENSIONS, streams=("muq/track",)))
        save_head(folder / name, head)
    return folder


def call(monkeypatch: pytest.MonkeyPatch, place: Path, code: int, *arguments: str) -> None:
    monkeypatch.chdir(place)
    monkeypatch.setattr(sys, "argv", ["hear-head", *arguments])
    with pytest.raises(SystemExit, check=lambda end: (end.code or 0) == code):
        entry.run("head")


def test_systems_are_compared_and_written(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    call(
        monkeypatch,
        place,
        0,
        "compare",
        "new.csv",
        "old.csv",
        "--out",
        "all.json",
        "--report",
        "page",
        "--bootstrap",
        "50",
    )
    said = capsys.readouterr()
    assert "new scores higher" in said.out
    assert said.err == "report: page/index.html\n"
    (found,) = json.loads((place / "all.json").read_text())["differences"]
    assert (found["better"], found["songs"]) == ("new", [30, 30])
    assert "new scores higher" in (place / "page" / "index.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "code", "line"),
    [
        (["new.csv", "old.csv", "--fail-under", "Clarity=1.5"], 0, ""),
        (["new.csv", "old.csv", "--fail-under", "Clarity=4.5"], 1, "new: Clarity is 3."),
        (["new.csv", "old.csv", "--fail-if-worse-than", "old"], 0, ""),
        (["old.csv", "new.csv", "--fail-if-worse-than", "new"], 1, "new scores higher than old on Clarity: by 0."),
        (["new.csv", "a"], 1, "new.csv has scores and a is a head: compare score files, or heads, not both"),
        (["new.csv", "old.csv", "--fail-if-worse-than", "old.csv"], 1, "old.csv: cannot be read: it is not JSON"),
        (["none.csv", "new.csv"], 1, "none.csv: no such score file"),
        (["a", "b", *HEADS, "--fail-under", "SRCC=0.99"], 1, "a: SRCC is "),
        (["a", "b", *HEADS, "--fail-under", "Clarity.LCC=-1"], 0, ""),
        (["a", "b", *HEADS, "--fail-under", "Groove=1"], 1, "no figure is named 'Groove'; expected one of "),
    ],
)
def test_conditions_set_the_exit_code_and_give_one_line(
    place: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    code: int,
    line: str,
) -> None:
    call(monkeypatch, place, code, "compare", *arguments)
    said = capsys.readouterr().err.splitlines()
    assert len(said) == (code and 1)
    assert not code or said[0].startswith(f"hear-head: {line}")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["new.csv", "--fail-under", "Clarity"], "--fail-under: expected a figure and a value"),
        (["a", "b", "--store", "store.zarr"], "give a manifest with"),
        (["a", "b", "--manifest", "manifest.csv"], "give a store with --store"),
    ],
)
def test_wrong_usage_is_2(
    place: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    call(monkeypatch, place, 2, "compare", *arguments)
    assert message in capsys.readouterr().err


def test_an_evaluation_shows_the_ceiling_of_its_raters(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["evaluate", "--checkpoint", "a", *HEADS, "--raters", "metadata.jsonl", "--out", "evaluation.json"]
    call(monkeypatch, place, 0, *options)
    assert "raters, 12 songs" in capsys.readouterr().out
    raters = json.loads((place / "evaluation.json").read_text())["raters"]
    assert raters.keys() == set(DIMENSIONS)
    assert raters["Clarity"]["per_song"] == 4.0
