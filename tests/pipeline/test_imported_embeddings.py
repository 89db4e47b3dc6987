"""An HDF5 file of another program, with streams and datasets only: imported, trained on, evaluated and scored."""

import json
from ast import literal_eval
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import h5py
import numpy as np
import pytest
from typer.testing import CliRunner

from pipeline.cli import head, store
from stages.head.checkpoint.ensemble import load_ensemble
from stages.head.checkpoint.saved import load_head
from stages.head.share.card import model_card
from stages.scoring.errors import ScoringError
from stages.scoring.sources.encoders import load_encoders
from stages.songs import DIMENSIONS

SONGS = tuple(f"model{number % 2}/{number:03}" for number in range(12))


def call(app: object, *arguments: object) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)  # type: ignore[arg-type]
    assert result.exit_code == 0, result.output
    return result.stdout


def lay_out(folder: Path, streams: tuple[str, ...], channels: int) -> None:
    """theirs.h5, and a manifest of its songs; there is no audio."""
    generator = np.random.default_rng(0)
    rows = [",".join(("song_id", "path", "split", *DIMENSIONS))]
    with h5py.File(folder / "theirs.h5", "w") as file:
        file.attrs["streams"] = list(streams)
        for number, song in enumerate(SONGS):
            ratings = generator.uniform(1, 5, 5)
            frames = generator.normal(ratings[0], 1, (len(streams), int(generator.integers(9, 20)), channels))
            file.create_dataset(f"{song}/0", data=frames.astype(np.float32))
            split = "val" if number < 4 else "train"
            rows.append(",".join((song, f"{song}.wav", split, *(f"{rating:.2f}" for rating in ratings))))
    (folder / "manifest.csv").write_text("\n".join(rows) + "\n")


@pytest.mark.parametrize(
    ("streams", "channels", "line"),
    [
        (
            ("mine",),
            5,
            "interpreted as 1 stream (mine) of 5 channels in float32, 25 frames per second; encoders and",
        ),
        (("a b@best", "c/d/e", "@"), 7, "interpreted as 3 streams (a b@best, c/d/e, @) of 7 channels in float32"),
        (("muq/track@6", "muq/track@10"), 4, "interpreted as 2 streams (muq/track@6, muq/track@10) of 4 channels"),
    ],
)
def test_imported_embeddings_train_evaluate_and_predict(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, streams: tuple[str, ...], channels: int, line: str
) -> None:
    lay_out(tmp_path, streams, channels)
    monkeypatch.chdir(tmp_path)
    assert line in call(store.app, "import", "theirs.h5", "their.zarr")
    here = ("--manifest", "manifest.csv", "--store", "their.zarr")
    call(head.app, "train", *here, "--track", 2, "--out", "model", "--size", "small", "--epochs", 1, "--device", "cpu")
    call(head.app, "evaluate", *here, "--checkpoint", "model", "--out", "metrics.json", "--bootstrap", 10)
    assert json.loads((tmp_path / "metrics.json").read_text())["songs"] == 4
    printed = call(head.app, "predict", "--store", "their.zarr", "--checkpoint", "model", "--by", "folder")
    rows = [json.loads(text) for text in printed.splitlines()]
    assert {row["song_id"]: row["group"] for row in rows} == {song: song.partition("/")[0] for song in SONGS}
    again = load_head("model")
    assert (again.streams, again.layers, again.config.channels) == (streams, (), channels)
    frames = np.zeros((len(streams), 9, channels), ">f4")
    assert set(again.score(frames)) == set(DIMENSIONS)


def test_a_head_of_imported_embeddings_refuses_audio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lay_out(tmp_path, ("mine",), 3)
    monkeypatch.chdir(tmp_path)
    call(store.app, "import", "theirs.h5", "their.zarr")
    options = ("--track", 1, "--out", "model", "--size", "small", "--epochs", 1, "--device", "cpu")
    call(head.app, "train", "--manifest", "manifest.csv", "--store", "their.zarr", *options)
    with pytest.raises(ScoringError, match=r"trained on stream 'mine' of imported embeddings.*--store"):
        load_encoders(load_ensemble(["model"]))
    # Its card does not promise it either, and the card's example runs.
    card = model_card("their.zarr", [load_head("model")], metrics={}, run={}, receipt={}, license="mit")
    usage = card.partition("## Use")[2].partition("\n## ")[0]
    assert "hear-head predict --store store.zarr --checkpoint their.zarr\n" in usage
    assert "song.mp3" not in usage
    code = usage.partition("```python\n")[2].partition("```")[0]
    code = code.replace('"their.zarr"', '"model"').replace("store.zarr", "their.zarr").replace('"song"', repr(SONGS[0]))
    with redirect_stdout(StringIO()) as printed:
        exec(code, {})
    assert set(literal_eval(printed.getvalue())) == set(load_head("model").dimensions)


def test_songevals_head_trains_on_a_given_stream(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lay_out(tmp_path, ("mine", "other"), 4)
    monkeypatch.chdir(tmp_path)
    call(store.app, "import", "theirs.h5", "their.zarr")
    here = ("--manifest", "manifest.csv", "--store", "their.zarr", "--track", 1, "--size", "small", "--epochs", 1)
    named = ("--architecture", "songeval", "--streams", "other", "--device", "cpu")
    call(head.app, "train", *here, *named, "--out", "baseline")
    assert load_head("baseline").streams == ("other",)
