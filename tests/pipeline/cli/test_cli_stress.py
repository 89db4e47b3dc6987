"""`hear-head stress`: usage, output, and a second run."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
import typer
from typer.testing import CliRunner, Result

from pipeline import stress as work
from pipeline.cli.head_commands.stress import stress
from stages.extract.config import ExtractConfig
from stages.extract.encoders import load_multiscale
from stages.head.checkpoint.head import Head, HeadConfig
from stages.head.checkpoint.saved import save_head
from stages.head.model.hear import HearHead
from stages.head.model.sizes import preset_sizes
from stages.songs import DIMENSIONS, Song, write_manifest
from store.errors import HearError

app = typer.Typer()
app.command()(stress)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A head, two songs of 1 s in `söngs` with a manifest, and a file that is not audio."""
    folder = tmp_path_factory.mktemp("stress")
    encoders = load_multiscale(preset="tiny", layers=(2,), device="cpu", precision="fp32")
    torch.manual_seed(0)
    sizes = preset_sizes("small", features=4 * encoders.channels, classes=5)
    spec = ExtractConfig(preset="tiny", muq="", musicfm="", layers=(2,)).spec(encoders).to_json()
    save_head(
        folder / "head",
        Head(HearHead(sizes), HeadConfig(sizes=sizes, dimensions=DIMENSIONS, streams=encoders.streams, spec=spec)),
    )
    (folder / "söngs").mkdir()
    songs = []
    for number in range(2):
        path = folder / "söngs" / f"{number}.wav"
        soundfile.write(path, np.random.default_rng(number).standard_normal(24_000) * 0.1, 24_000)
        songs.append(Song(str(number), path, "val", f"system {number}"))
    write_manifest(folder / "manifest.csv", songs)
    (folder / "bad.wav").write_text("no audio")
    return folder


def call(place: Path, *arguments: str) -> Result:
    options = ["--checkpoint", str(place / "head"), "--precision", "fp32", "--readers", "1"]
    return CliRunner().invoke(app, [*arguments, *options])


def test_a_second_run_encodes_nothing(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run over the manifest; then without encoders, and then with a song that cannot be read."""
    store, out = str(tmp_path / "st öre.zarr"), tmp_path / "out.json"
    options = ["--store", store, "--changes", "polarity", "--report", str(tmp_path / "page"), "--out", str(out)]
    manifest = ["--manifest", str(place / "manifest.csv"), "--by", "system"]
    first = call(place, *manifest, *options)
    assert first.exit_code == 0, first.output
    assert "4 changed songs made, 0 in the store already, 0 failed" in first.stderr
    assert "trained on the demo: meaningless for music" in first.stderr
    values = json.loads(out.read_text())
    assert values["songs"] == ["0", "1"]
    assert [one["mean"] for one in values["effects"]] == pytest.approx([0.0] * 6, abs=1e-3)
    assert {one["group"] for one in values["groups"]} == {"system 0", "system 1"}
    assert "With 2 songs" in (tmp_path / "page" / "index.html").read_text()
    monkeypatch.setattr(work, "load_encoders", lambda *_, **__: pytest.fail("encoders are not needed"))
    second = call(place, *manifest, *options)
    assert "0 changed songs made, 4 in the store already, 0 failed" in second.stderr
    assert second.stdout == first.stdout
    gone = call(place, str(place / "söngs"), str(place / "gone.wav"), *options)
    assert gone.exit_code == 1
    assert "failed: gone: " in gone.stderr
    assert "gone.wav: cannot be read: No such file" in gone.stderr


def test_an_estimate_changes_nothing(place: Path, tmp_path: Path) -> None:
    found = call(place, str(place / "söngs"), "--store", str(tmp_path / "x.zarr"), "--changes", "gain", "--dry-run")
    values = json.loads(found.stdout)
    assert (values["songs"], values["records"], values["stored"]) == (2, 10, 0)
    assert values["hours"] == round(10 / 3600, 3)
    assert not (tmp_path / "x.zarr").exists()


def test_usage(place: Path, tmp_path: Path) -> None:
    store = ["--store", str(tmp_path / "x.zarr")]
    for arguments, message in (
        ([], "give songs: INPUT or --manifest"),
        ([str(place / "söngs"), "--by", "genre"], "--by refers to a manifest: give --manifest"),
    ):
        found = call(place, *arguments, *store)
        assert found.exit_code == 2
        assert message in found.stderr
    for arguments, reason in (
        ([str(place / "söngs"), "--changes", "loud"], "'loud' is unknown; expected some of nuisance, damage"),
        ([str(place / "gone.wav")], "none of the 1 songs can be read; the first: "),
    ):
        error = call(place, *arguments, *store).exception
        assert isinstance(error, HearError)
        assert reason in str(error)
