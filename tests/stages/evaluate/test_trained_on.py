"""Notes of an evaluation on the head's training: changed ratings, songs in both, and controls."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from stages.evaluate.evaluation import evaluate_heads
from stages.evaluate.tables import evaluation_table, write_evaluation
from stages.evaluate.trained_on import read_trained_on
from stages.head.checkpoint.ensemble import load_heads
from stages.head.config import TrainConfig
from stages.head.errors import HeadError
from stages.head.training.runs import Job
from stages.head.training.seeds import train_seeds
from stages.head.training.train import train_head
from stages.songs import DIMENSIONS, Manifest, Song
from store import Spec, StoreWriter

TRAIN_CONFIG = TrainConfig(size="small", learning_rate=3e-3, epochs=1, batch_size=4, device="cpu", precision="fp32")
LEAK = (
    "the head was trained on {} of these {} songs, the first is {!r}: "
    "the figures do not show how well it scores other songs"
)
OTHERS = "the songs or ratings of val have changed since the head was trained"


class Trained(NamedTuple):
    """A store, its manifest, and the folder of a run on it."""

    store: str
    manifest: Manifest
    run: Path


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Ten training songs, four validation songs, two test songs; a head of Track 2."""
    folder = tmp_path_factory.mktemp("trained")
    generator = np.random.default_rng(0)
    spec = Spec(streams=("muq/track",), channels=8, encoders={"muq": "sha256:b"}, layers=(10,))
    writer = StoreWriter.open(folder / "store.zarr", spec)
    songs = []
    for number, split in enumerate(["train"] * 10 + ["val"] * 4 + ["test"] * 2):
        name = f"{split} {number}"
        frames = generator.normal(0, 1, (1, 20, 8)).astype(np.float32)
        writer.write(name, 0, frames, attributes={"seconds": 1.0})
        labels = dict(zip(DIMENSIONS, generator.uniform(3.8, 5, 5).round(1).tolist(), strict=True))
        songs.append(Song(name, folder / "none.wav", split, "", labels, {}))
    manifest = Manifest(folder / "manifest.csv", tuple(songs))
    train_head(store=str(folder / "store.zarr"), manifest=manifest, track=2, out=folder / "run", config=TRAIN_CONFIG)
    return Trained(str(folder / "store.zarr"), manifest, folder / "run")


def notes(
    trained: Trained, *, manifest: Manifest | None = None, split: str = "val", run: Path | None = None
) -> list[str]:
    place = run or trained.run
    found = evaluate_heads(
        load_heads(place),
        store=trained.store,
        manifest=manifest or trained.manifest,
        split=split,
        draws=10,
        trained_on=read_trained_on(place),
    )
    return [note for note in found.notes if "TTA" not in note]


def changed(manifest: Manifest, name: str, **changes: object) -> Manifest:
    return replace(manifest, songs=tuple(replace(s, **changes) if s.song_id == name else s for s in manifest.songs))


def test_unchanged_songs_and_ratings_need_no_note(trained: Trained) -> None:
    assert notes(trained) == notes(trained, split="test") == []
    backwards = replace(trained.manifest, songs=trained.manifest.songs[::-1])
    assert notes(trained, manifest=backwards) == []
    elsewhere = changed(trained.manifest, "val 11", system="another", extra={"genre": "jazz"})
    assert notes(trained, manifest=elsewhere) == []


def test_changed_ratings_are_counted_and_the_first_is_named(trained: Trained) -> None:
    before = {song.song_id: song.labels["Memorability"] for song in trained.manifest.songs}["val 11"]
    labels = {**trained.manifest.songs[11].labels, "Memorability": 1.5}
    rated = changed(trained.manifest, "val 11", labels=labels)
    one = f"1 of 4 val songs have other ratings, the first is 'val 11' (Memorability was {before}, now it is 1.5)"
    assert notes(trained, manifest=rated) == [f"{OTHERS}: {one}"]
    fewer = replace(rated, songs=tuple(song for song in rated.songs if song.song_id != "val 13"))
    assert notes(trained, manifest=fewer) == [f"{OTHERS}: {one}; removed from val: 1, the first is 'val 13'"]
    assert notes(trained, manifest=rated, split="test") == []


@pytest.mark.parametrize("name", ["train 3", "train 9"])
def test_songs_that_were_trained_on_are_counted_and_the_first_is_named(trained: Trained, name: str) -> None:
    assert notes(trained, split="train") == [LEAK.format(10, 10, "train 0")]
    leaking = changed(trained.manifest, name, split="test")
    assert notes(trained, manifest=leaking, split="test") == [LEAK.format(1, 3, name)]


def test_without_ratings_the_digest_shows_changes(tmp_path: Path, trained: Trained) -> None:
    """As for a head pulled from a hub, without names of songs."""
    for name in ("config.json", "model.safetensors", "params.json", "run.json"):
        (tmp_path / name).write_bytes((trained.run / name).read_bytes())
    assert notes(trained, run=tmp_path) == notes(trained, run=tmp_path, split="test") == []
    rated = changed(trained.manifest, "val 11", labels=dict.fromkeys(DIMENSIONS, 4.0))
    (said,) = notes(trained, manifest=rated, run=tmp_path)
    assert said.startswith(f"{OTHERS}: their digest was ")
    (tmp_path / "params.json").unlink()
    assert notes(trained, manifest=rated, run=tmp_path) == []


def test_a_run_without_digests_adds_no_note(tmp_path: Path, trained: Trained) -> None:
    for name in ("config.json", "model.safetensors", "run.json"):
        (tmp_path / name).write_bytes((trained.run / name).read_bytes())
    params = json.loads((trained.run / "params.json").read_text())
    (tmp_path / "params.json").write_text(json.dumps({k: v for k, v in params.items() if k != "labels"}))
    assert (
        notes(
            trained, manifest=changed(trained.manifest, "val 11", labels=dict.fromkeys(DIMENSIONS, 4.0)), run=tmp_path
        )
        == []
    )


@pytest.mark.parametrize("content", ["{", "[]", '{"labels": 3}'])
def test_damaged_parameters_give_one_line(tmp_path: Path, trained: Trained, content: str) -> None:
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).write_bytes((trained.run / name).read_bytes())
    (tmp_path / "params.json").write_text(content)
    with pytest.raises(HeadError, match=r"params\.json: cannot be read as a run's parameters"):
        read_trained_on(tmp_path)


def test_a_control_is_named_but_its_shuffled_ratings_are_not_compared(tmp_path: Path, trained: Trained) -> None:
    config = replace(TRAIN_CONFIG, shuffle_labels=True)
    train_head(store=trained.store, manifest=trained.manifest, track=2, out=tmp_path / "run", config=config)
    control = "the head was trained on shuffled ratings, as a control: its scores should be at chance"
    assert notes(trained, run=tmp_path / "run") == [control]


def test_notes_of_several_seeds_appear_once(tmp_path: Path, trained: Trained) -> None:
    job = Job(
        name="",
        store_root=trained.store,
        manifest=trained.manifest,
        track=2,
        out=tmp_path / "seeds",
        config=TRAIN_CONFIG,
    )
    train_seeds(job, seeds=2)
    assert notes(trained, split="train", run=tmp_path / "seeds") == [LEAK.format(10, 10, "train 0")]


def test_notes_are_in_the_table_and_in_the_json(tmp_path: Path, trained: Trained) -> None:
    heads, known = load_heads(trained.run), read_trained_on(trained.run)
    shared: dict[str, Callable] = {
        "store": trained.store,
        "manifest": trained.manifest,
        "draws": 10,
        "trained_on": known,
    }
    found = evaluate_heads(heads, split="train", **shared)
    assert evaluation_table(found).splitlines()[-1] == f"note: {found.notes[-1]}"
    write_evaluation(found, tmp_path / "found.json")
    assert json.loads((tmp_path / "found.json").read_text())["notes"] == list(found.notes)
    plain = evaluate_heads(heads, split="val", **shared)
    assert "note: " not in evaluation_table(plain)
    write_evaluation(plain, tmp_path / "plain.json")
    assert json.loads((tmp_path / "plain.json").read_text())["notes"] == []
