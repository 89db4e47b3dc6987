"""--resume on a complete run, and older runs if a new one cannot start."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from stages.common.device import DeviceError
from stages.head.config import TrainConfig
from stages.head.errors import HeadError
from stages.head.training.history import Listener
from stages.head.training.report import TrainReport, read_report
from stages.head.training.train import train_head
from tests.stages.head.training.helpers import NeverCalled, StopsAt, trained

Train = Callable[..., TrainReport]


@pytest.fixture
def train(tmp_path: Path, learnable, config: TrainConfig) -> Train:
    """A function that trains for one epoch into `run`."""

    def run(*, resume: bool = False, listeners: tuple[Listener, ...] = (), **changes: object) -> TrainReport:
        changed = replace(config, epochs=1, **changes)
        return trained(learnable, tmp_path / "run", changed, resume=resume, listeners=listeners)

    return run


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_complete_run_is_reported_and_kept(tmp_path: Path, train: Train) -> None:
    first = train()
    before = contents(tmp_path / "run")
    again = train(resume=True, listeners=(NeverCalled(),), memory=1.0)
    assert contents(tmp_path / "run") == before
    assert not again.trained
    assert again.line == f"already complete: {first.line}"
    assert again.best == first.best
    assert again.metrics == first.metrics


def test_a_complete_run_with_other_settings_is_refused(tmp_path: Path, train: Train) -> None:
    train()
    before = contents(tmp_path / "run")
    with pytest.raises(
        HeadError, match=r"params\.json: sigma was 1\.0, now it is 2\.0; cannot resume with changed settings"
    ):
        train(resume=True, sigma=2.0)
    assert contents(tmp_path / "run") == before
    train(sigma=2.0)
    assert contents(tmp_path / "run") != before


def age(run: Path) -> None:
    """Make a run's folder look older than schedules, saved ratings and notes."""
    (run / "ratings.csv").unlink()
    dropped = {"params.json": ("schedule", "plateau_patience", "labels"), "run.json": ("unrated", "notes")}
    for name in dropped:
        if (run / name).exists():
            values = json.loads((run / name).read_text(encoding="utf-8"))
            (run / name).write_text(json.dumps({k: v for k, v in values.items() if k not in dropped[name]}))


def test_an_older_complete_run_is_reported(tmp_path: Path, train: Train) -> None:
    first = train()
    age(tmp_path / "run")
    again = train(resume=True, listeners=(NeverCalled(),))
    assert again.line == f"already complete: {first.line}"
    assert (again.unrated, again.notes, again.validations) == ((), (), 1)
    with pytest.raises(HeadError, match=r"params\.json: schedule was 'constant', now it is 'plateau'; cannot resume"):
        train(resume=True, schedule="plateau")


def test_an_older_interrupted_run_resumes(tmp_path: Path, train: Train) -> None:
    train(evaluate_every=2)
    whole = (tmp_path / "run" / "model.safetensors").read_bytes()
    with pytest.raises(InterruptedError):
        train(listeners=(StopsAt(4),), evaluate_every=2)
    age(tmp_path / "run")
    with pytest.raises(HeadError, match=r"schedule was 'constant', now it is 'plateau'"):
        train(resume=True, schedule="plateau", evaluate_every=2)
    train(resume=True, evaluate_every=2)
    assert (tmp_path / "run" / "model.safetensors").read_bytes() == whole


@pytest.mark.parametrize("change", ["rating", "song", "order"])
def test_changed_songs_or_ratings_are_refused_and_named(
    tmp_path: Path, train: Train, learnable, config: TrainConfig, change: str
) -> None:
    train()
    first, second, third, *rest = learnable.manifest.songs
    songs, message = {
        "rating": (
            (first, replace(second, labels={**second.labels, "Clarity": 1.23}), third, *rest),
            r"ratings\.csv: 1 of 18 train songs have other ratings, .* 'söng 1' \(Clarity was 2\.3, now it is 1\.23\)",
        ),
        "song": ((first, second, *rest), r"ratings\.csv: removed from train: 1, the first is 'söng 2'"),
        "order": (
            (first, third, second, *rest),
            r"data \(digest of songs, their views and ratings\) was '\w+', now it",
        ),
    }[change]
    manifest = replace(learnable.manifest, songs=songs)
    with pytest.raises(HeadError, match=rf"{message}.*; cannot resume with changed settings"):
        train_head(
            store=learnable.store,
            manifest=manifest,
            track=2,
            out=tmp_path / "run",
            config=replace(config, epochs=1),
            resume=True,
        )


@pytest.mark.parametrize("text", ["{", "[]", '{"best_step": 1}'])
def test_a_damaged_run_json_gives_one_line(tmp_path: Path, train: Train, text: str) -> None:
    train()
    (tmp_path / "run" / "run.json").write_text(text)
    with pytest.raises(HeadError, match=r"run: cannot read the run's results: .*; train again without --resume"):
        train(resume=True)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"device": "tpu"}, DeviceError, "device 'tpu' cannot be used here"),
        ({"crop": float("inf")}, OverflowError, "infinity"),
    ],
)
def test_the_older_run_stays_if_a_head_cannot_be_built(
    tmp_path: Path, train: Train, change: dict[str, object], error: type[Exception], message: str
) -> None:
    train()
    before = contents(tmp_path / "run")
    with pytest.raises(error, match=message):
        train(**change)
    assert contents(tmp_path / "run") == before


def test_a_new_run_removes_the_older_one(tmp_path: Path, train: Train) -> None:
    class Stops(Listener):
        def begin(self, *, steps: int, done: int) -> None:
            raise InterruptedError

    train()
    with pytest.raises(InterruptedError):
        train(listeners=(Stops(),))
    assert sorted(contents(tmp_path / "run")) == ["params.json", "ratings.csv", "receipt.json", "versions.json"]


def test_a_stream_that_is_named_twice_is_refused(tmp_path: Path, train: Train) -> None:
    with pytest.raises(HeadError, match=r"stream 'muq/track' is named twice; name each once"):
        train(streams=("muq/track", "musicfm/track", "muq/track"))
    assert not (tmp_path / "run").exists()


def test_a_report_round_trip(tmp_path: Path, train: Train) -> None:
    written = train()
    read = read_report(tmp_path / "run")
    assert read.to_json() == written.to_json()
