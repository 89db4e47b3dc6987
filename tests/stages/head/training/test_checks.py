"""Checks before the first epoch: unusable records end a run at once, oddities are reported."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from stages.evaluate.evaluation import evaluate_heads
from stages.head.checkpoint.saved import load_head
from stages.head.config import TrainConfig
from stages.head.data.reader import Reader
from stages.head.data.records import Records, Stored
from stages.head.data.splits import open_data
from stages.head.errors import HeadError
from stages.head.training.checks import check_records, describe_data
from stages.head.training.report import read_report
from stages.head.training.runs import Job
from stages.head.training.seeds import train_seeds
from stages.metrics.agreement import METRICS
from stages.songs import DIMENSIONS, Manifest, Song
from store import EmbeddingStore, StoreWriter
from store.format.keys import METADATA, SHARD, record_path
from tests.stages.head.training.helpers import NeverCalled, trained


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[10] ^= 1
    path.write_bytes(content)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:20])


DAMAGES = {
    "a flipped bit": lambda record: flip(record / SHARD),
    "data cut short": lambda record: cut(record / SHARD),
    "no data": lambda record: (record / SHARD).unlink(),
}


@pytest.mark.parametrize("memory", [4.0, 0.0], ids=["held", "streamed"])
@pytest.mark.parametrize("damage", DAMAGES)
def test_an_unreadable_validation_song_ends_the_run_before_its_first_epoch(
    tmp_path: Path, make_learnable: Callable, config: TrainConfig, damage: str, memory: float
) -> None:
    here = make_learnable(tmp_path, songs=12)
    for song in ("söng 4", "söng 8"):
        DAMAGES[damage](Path(here.store) / record_path(song, 0))
    with pytest.raises(HeadError, match=r"^2 of 3 val songs cannot be scored, the first is 'söng 4': .*checksum"):
        trained(here, tmp_path / "run", replace(config, memory=memory), listeners=(NeverCalled(),))
    assert not (tmp_path / "run").exists()


def test_damaged_metadata_is_found_despite_a_correct_catalogue(
    tmp_path: Path, make_learnable: Callable, config: TrainConfig
) -> None:
    here = make_learnable(tmp_path, songs=12)
    data = open_data(here.store, here.manifest, track=2, config=config)
    (Path(here.store) / record_path("söng 8", 0) / METADATA).write_text("{}")
    with pytest.raises(HeadError, match=r"1 of 3 val songs cannot be scored, the first is 'söng 8': .*zarr\.json"):
        check_records(data, Reader(Records(data.store, streams=data.streams, stride=3), workers=1))


@pytest.mark.parametrize(
    ("song", "view", "records"), [("söng 4", 0, "3 val"), ("söng 5", 0, "17 train"), ("söng 5", 1, "18 train")]
)
def test_a_record_without_frames_for_one_patch_is_named_first(
    tmp_path: Path, make_learnable: Callable, config: TrainConfig, song: str, view: int, records: str
) -> None:
    here = make_learnable(tmp_path, songs=12)
    writer = StoreWriter.open(here.store, EmbeddingStore.open(here.store).spec)
    for each in range(view + 1):
        frames = np.zeros((2, 2 if each == view else 9, 8), np.float32)
        writer.write("short", each, frames, attributes={"seconds": 0.1})
    swapped = changed(here.manifest, lambda one: replace(one, song_id="short") if one.song_id == song else one)
    short = here._replace(manifest=swapped)
    expected = rf"1 of {records} records are shorter than the 3 frames .* song 'short' view {view} with 2"
    with pytest.raises(HeadError, match=expected):
        trained(short, tmp_path / "run", config, listeners=(NeverCalled(),))
    # SongEval's head has patches of one frame.
    data = open_data(short.store, short.manifest, track=2, config=config)
    check_records(data, Reader(Records(data.store, streams=data.streams, stride=1), workers=0))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_validation_songs_must_be_finite(learnable, config: TrainConfig, value: float) -> None:
    class Damaged(Records):
        """Returns one value that is not finite for one song."""

        def read(self, song: str, view: int, **options: object) -> Stored:
            found = super().read(song, view, **options)
            found.values[-1, -1, -1] = value if song == "söng 20" else 0
            return found

    data = open_data(learnable.store, learnable.manifest, track=2, config=config)
    with pytest.raises(HeadError, match=r"1 of 6 val songs .* 'söng 20': .*values are NaN or infinite; run hear-store"):
        check_records(data, Reader(Damaged(data.store, streams=data.streams, stride=1), workers=1))


def test_records_held_by_the_check_are_not_read_again(
    tmp_path: Path, learnable, config: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[tuple[str, int]] = []
    original = Records.read

    def watched(records: Records, song: str, view: int, **options: object) -> Stored:
        read.append((song, view))
        return original(records, song, view, **options)

    monkeypatch.setattr(Records, "read", watched)
    trained(learnable, tmp_path / "run", config)
    validated = [(song.song_id, 0) for song in learnable.manifest.split("val")]
    assert [record for record in read if record in validated] == validated


def test_an_older_run_stays_if_a_new_one_cannot_validate(
    tmp_path: Path, make_learnable: Callable, config: TrainConfig
) -> None:
    here, short = make_learnable(tmp_path, songs=12), replace(config, epochs=1)
    job = Job(name="", store_root=here.store, manifest=here.manifest, track=2, out=tmp_path / "seeds", config=short)
    trained(here, tmp_path / "run", short)
    train_seeds(job, seeds=2)
    before = {path: path.read_bytes() for path in tmp_path.glob("**/model.safetensors")}
    assert len(before) == 3
    flip(Path(here.store) / record_path("söng 4", 0) / SHARD)
    with pytest.raises(HeadError, match="1 of 3 val songs cannot be scored"):
        trained(here, tmp_path / "run", short)
    with pytest.raises(HeadError, match="1 of 3 val songs cannot be scored"):
        train_seeds(job, seeds=2)
    assert {path: path.read_bytes() for path in before} == before


def changed(manifest: Manifest, change: Callable[[Song], Song]) -> Manifest:
    return replace(manifest, songs=tuple(map(change, manifest.songs)))


def rate(manifest: Manifest, change: Callable[[Song], dict[str, float]]) -> Manifest:
    """The same songs with some ratings replaced."""
    return changed(manifest, lambda song: replace(song, labels={**song.labels, **change(song)}))


def only(manifest: Manifest, **counts: int) -> Manifest:
    """The given number of songs of each split."""
    return replace(
        manifest, songs=tuple(song for split, count in counts.items() for song in manifest.split(split)[:count])
    )


def same_in(manifest: Manifest, split: str, **ratings: float) -> Manifest:
    return rate(manifest, lambda song: ratings if song.split == split else {})


def at_most(manifest: Manifest, highest: float, *dimensions: str) -> Manifest:
    return rate(manifest, lambda song: {name: min(song.labels[name], highest) for name in dimensions})


def unrated(manifest: Manifest, *songs: str) -> Manifest:
    return changed(manifest, lambda song: replace(song, labels={}) if song.song_id in songs else song)


def missing(manifest: Manifest, name: str) -> Manifest:
    return changed(manifest, lambda song: replace(song, song_id=f"{name}!") if song.song_id == name else song)


CASES: dict[str, tuple[Callable[[Manifest], Manifest], list[str]]] = {
    "nothing": (lambda m: m, []),
    "one val": (lambda m: only(m, train=8, val=1), ["only one val song: LCC, SRCC and KTAU are 0"]),
    "one train": (
        lambda m: only(m, train=1, val=6),
        ["only one train song: C-Mixup has no partner for it, and ListMLE has nothing to rank"],
    ),
    "few train": (lambda m: only(m, train=3, val=6), ["3 train songs are fewer than one batch of 4"]),
    "constant val": (
        lambda m: same_in(m, "val", Musicality=4.0, Clarity=4.5),
        ["all val songs have the same rating of Musicality, Clarity: LCC, SRCC and KTAU are 0 there"],
    ),
    "constant train": (
        lambda m: same_in(m, "train", Clarity=4.5),
        ["all train songs have the same rating of Clarity: no differences can be learned there"],
    ),
    "low": (
        lambda m: at_most(m, 3.9, "Coherence", "Clarity"),  # Clarity counts from 3.75 on
        ["no val song is rated high enough to count for TTA in Coherence: TTA is 0 there"],
    ),
    "unrated": (
        lambda m: unrated(m, "söng 4", "söng 5", "söng 6"),
        [
            "left out 2 train songs without a rating, the first is 'söng 5'",
            "left out 1 val song without a rating, the first is 'söng 4'",
        ],
    ),
    "missing": (
        lambda m: missing(m, "söng 8"),
        ["left out 1 val song that the store lacks, the first is 'söng 8!'"],
    ),
}


@pytest.mark.parametrize(("change", "expected"), CASES.values(), ids=CASES)
def test_odd_songs_are_reported_and_no_figure_is_nan(
    tmp_path: Path, learnable, config: TrainConfig, change: Callable[[Manifest], Manifest], expected: list[str]
) -> None:
    high = dict.fromkeys(DIMENSIONS, 4.9)  # so that TTA is defined
    manifest = change(rate(learnable.manifest, lambda song: high if song.song_id == "söng 0" else {}))
    here, short = learnable._replace(manifest=manifest), replace(config, epochs=1, allow_missing=1)
    assert describe_data(open_data(here.store, manifest, track=2, config=short), short) == expected
    report = trained(here, tmp_path / "run", short)
    assert json.loads((tmp_path / "run" / "run.json").read_text())["notes"] == expected
    assert read_report(tmp_path / "run").notes == report.notes == tuple(expected)
    found = evaluate_heads(
        [load_head(tmp_path / "run")], store=here.store, manifest=manifest, allow_missing=1, draws=10
    )
    assert list(found.notes) == [note for note in expected if " val " in note]
    figures = [report.metrics[name][metric] for name in (*DIMENSIONS, "mean") for metric in METRICS]
    figures += [end for row in found.intervals.values() for ends in row.values() for end in ends]
    assert np.isfinite(figures).all()
    if len(manifest.split("val")) == 1:
        assert all(report.metrics["mean"][name] == 0 for name in ("LCC", "SRCC", "KTAU"))
    assert torch.isfinite(load_head(tmp_path / "run").model.state_dict()["output.weight"]).all()


def test_without_mixing_one_song_needs_no_partner(learnable, config: TrainConfig) -> None:
    plain = replace(config, mix="none")
    data = open_data(learnable.store, only(learnable.manifest, train=1, val=6), track=2, config=plain)
    assert describe_data(data, plain)[0] == "only one train song: ListMLE has nothing to rank"
