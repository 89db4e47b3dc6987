"""`hear-store neighbours` and `distance`: output, files and wrong usage."""

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from pipeline.cli.store import app
from stages.songs import Song, write_manifest
from store import Spec, StoreWriter


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of twelve songs, of which 0 (val) equals 1 (train), and their manifest with two systems."""
    folder = tmp_path_factory.mktemp("ä place")
    generator = np.random.default_rng(0)
    writer = StoreWriter.open(
        folder / "songs.zarr", Spec(streams=("muq/track",), channels=16, encoders={"muq": "sha256:a"}, layers=(10,))
    )
    frames = generator.normal(0, 1, (12, 1, 1, 16)).repeat(3, axis=2)
    frames[0] = frames[1]
    songs = []
    for number in range(12):
        writer.write(f"{number}", 0, frames[number].astype(np.float32), attributes={})
        split = "train" if number % 2 else "val"
        songs.append(Song(f"{number}", folder / f"{number}.wav", split, "first" if number < 6 else "second"))
    write_manifest(folder / "songs.csv", songs)
    return folder


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [*map(str, arguments)])


def test_neighbours_warns_on_stderr_and_writes_all_pairs(place: Path) -> None:
    shown = run("neighbours", place / "songs.zarr", "--manifest", place / "songs.csv", "--csv", place / "pairs.csv")
    assert shown.exit_code == 0
    assert "1.000  0 (val)  ~  1 (train)" in shown.stdout
    assert "warning: 1 of 6 val songs have a near twin among the training songs" in shown.stderr
    assert len((place / "pairs.csv").read_text(encoding="utf-8").splitlines()) == 1 + 12 * 2
    found = json.loads(run("neighbours", place / "songs.zarr", "--json").stdout)
    assert [one["neighbour"] for one in found["neighbours"] if one["near_twin"]] == ["1", "0"]


@pytest.mark.parametrize(("column", "pair"), [("system", ["first", "second"]), ("split", ["train", "val"])])
def test_distance_compares_groups_of_a_column(place: Path, column: str, pair: list[str]) -> None:
    groups = ("--manifest", place / "songs.csv", "--by", column)
    (one,) = json.loads(run("distance", place / "songs.zarr", *groups, "--json").stdout)["distances"]
    assert [one["reference"], one["other"], *one["songs"]] == [*pair, 6, 6]
    assert one["low"] < one["kad"] < one["high"]


def test_distance_of_a_store_from_itself(place: Path) -> None:
    shown = run("distance", place / "songs.zarr", place / "songs.zarr")
    assert shown.stdout.splitlines()[1].split() == ["stream", "KAD", "95", "%", "interval", "FAD"]
    assert shown.stdout.splitlines()[2].split()[0] == "muq/track"


@pytest.mark.parametrize("wrong", [[], ["other.zarr", "--by", "system", "--manifest", "m.csv"], ["--by", "system"]])
def test_distance_needs_a_second_store_or_groups(wrong: list[str]) -> None:
    shown = run("distance", "songs.zarr", *wrong)
    assert shown.exit_code == 2
    assert "give a second store, or --by with --manifest" in shown.stderr
