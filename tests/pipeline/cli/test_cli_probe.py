"""`hear-probe`: fitting, applying, output and exit codes."""

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from pipeline.cli import probe as command
from pipeline.cli.entry import run
from stages.songs import Song, write_manifest
from store import Spec, StoreWriter

COUNT = 24
KIND = np.arange(COUNT) % 2


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Options for a store and a manifest of 24 songs, half of them by each of two systems, seen from another folder."""
    spec = Spec(streams=("musicfm/track", "muq/track"), channels=4, encoders={"muq": "sha256:a"}, layers=(10,))
    writer = StoreWriter.open(tmp_path / "data" / "store.zarr", spec)
    rng, songs = np.random.default_rng(0), []
    for number, kind in enumerate(KIND):
        frames = rng.normal(size=(2, 5, 4)) + 4 * kind * np.array([0, 1])[:, None, None]
        writer.write(f"s{number:02d}", 0, frames.astype(np.float32), attributes={"seconds": 0.2})
        loud, path = {"loud": str(float(frames[0].mean()))}, tmp_path / f"{number}.mp3"
        songs.append(Song(f"s{number:02d}", path, "train", "ab"[kind], {}, loud))
    write_manifest(tmp_path / "data" / "manifest.csv", songs)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    return ["--store", "../data/store.zarr", "--manifest", "../data/manifest.csv", "--bootstrap", "20"]


def call(*arguments: object, code: int = 0) -> Result:
    result = CliRunner().invoke(command.app, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == code, result.output
    return result


def test_fit_and_apply(asked: list[str]) -> None:
    fitted = call(*asked, "--target", "system", "--model", "logistic", "--setting", "0.1", "--out", "probe")
    assert fitted.stdout.startswith("system: classification by logistic (C 0.1), 24 songs; 5 folds over 24 songs\n")
    assert fitted.stderr == ""
    assert sorted(path.name for path in Path("probe").iterdir()) == [
        "confusion.png",
        "predictions.csv",
        "probe.json",
        "probe.safetensors",
    ]
    applied = call("apply", "probe", "--store", "../data/store.zarr")
    assert applied.stdout.splitlines()[0] == "song_id,predicted,score:a,score:b"
    assert applied.stderr == "24 songs scored\n"
    rows = json.loads(call("apply", "probe", "--store", "../data/store.zarr", "--json").stdout)
    assert [row["predicted"] for row in rows] == ["ab"[kind] for kind in KIND]
    assert rows[0]["scores_are"] == "probability"


def test_json_of_a_sweep(asked: list[str]) -> None:
    asked = [*asked, "--target", "system", "--model", "knn", "--setting", "3", "--cv", "3", "--json"]
    found = json.loads(call(*asked, "--sweep", "streams").stdout)
    assert found["probe"]["accuracy"]["value"] > 0.9
    assert found["baseline"]["accuracy"]["value"] == 0.5
    assert [row["name"] for row in found["sweep"]][-1] == "musicfm/track"
    assert np.array(found["confusion"]).sum() == len(found["predictions"]) == COUNT


def test_streams_can_be_given_by_parts_of_their_names(asked: list[str]) -> None:
    asked = [*asked, "--target", "loud", "--model", "ridge", "--setting", "0.01"]
    one = call("fit", *asked, "--streams", "musicfm").stdout.splitlines()
    assert one[1] == "musicfm/track: mean, 4 features"
    both = call(*asked, "--streams", "muq/track, musicfm", "--pooling", "both").stdout.splitlines()
    assert both[1] == "musicfm/track, muq/track: both, 16 features"


@pytest.mark.parametrize(
    "arguments",
    [
        ["--store", "s.zarr", "--model", "ridge"],
        ["--store", "s.zarr", "--model", "tree", "--target", "x", "--manifest", "m.csv"],
        ["--store", "s.zarr", "--model", "ridge", "--target", "x"],
        ["--store", "s.zarr", "--model", "ridge", "--target", "x", "--manifest", "m.csv", "--cv", "1"],
        ["--store", "s.zarr", "--model", "ridge", "--target", "x", "--manifest", "m.csv", "--seed", "4294967296"],
        ["apply", "probe"],
        ["fit", "--nonsense"],
    ],
)
def test_wrong_usage(arguments: list[str]) -> None:
    call(*arguments, code=2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--target", "mood", "--model", "ridge"],
            "manifest.csv: no column 'mood'; found loud, split, system",
        ),
        (
            ["--target", "system", "--model", "ridge"],
            "column 'system': expected numbers, found 'a'; correct it, or use",
        ),
        (["--target", "loud", "--model", "ridge", "--streams", "mert"], "no stream 'mert' in the store"),
        (["--target", "loud", "--model", "ridge", "--store", "absent"], "absent: no embedding store here"),
        (["--target", "loud", "--model", "ridge", "--manifest", "absent"], "absent: cannot be read: No such file"),
    ],
)
def test_errors_give_one_line(
    asked: list[str],
    arguments: list[str],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("sys.argv", ["hear-probe", *asked, *arguments])
    with pytest.raises(SystemExit, match="1"):
        run("probe")
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("hear-probe: ")
    assert message in shown.err
    assert shown.err.count("\n") == 1


def test_songs_without_a_clean_view_are_an_error(asked: list[str], tmp_path: Path) -> None:
    call(*asked, "--target", "loud", "--model", "ridge", "--setting", "1", "--out", "probe")
    spec = Spec(streams=("musicfm/track", "muq/track"), channels=4, encoders={"muq": "sha256:a"}, layers=(10,))
    writer = StoreWriter.open(tmp_path / "other.zarr", spec)
    for song, view in (("a", 0), ("b", 1)):
        writer.write(song, view, np.ones((2, 5, 4), np.float32), attributes={"seconds": 0.2})
    result = call("apply", "probe", "--store", tmp_path / "other.zarr", code=1)
    assert len(result.stdout.splitlines()) == 2
    assert result.stderr == "1 songs scored, no clean view: 1 (b)\n"


def test_help_lists_all_commands() -> None:
    assert "fit" in call("--help").stdout
    shown = call("fit", "--help").stdout
    for option in ("--store", "--manifest", "--target", "--model", "--streams", "--cv", "--group", "--sweep", "--out"):
        assert option in shown
