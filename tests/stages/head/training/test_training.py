"""Training: it learns, is repeatable, resumes to the same bytes, stops early, and records its results."""

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch

from stages.evaluate.evaluation import evaluate_heads
from stages.head.checkpoint.saved import load_head
from stages.head.config import TrainConfig
from stages.head.data.epoch_plan import Item, PlannedBatch
from stages.head.data.records import Packed, Records
from stages.head.data.splits import open_data
from stages.head.errors import HeadError
from stages.head.model.packed import PackedModel
from stages.head.training import trainer
from stages.head.training.history import EvaluationRow, Listener
from stages.head.training.step import Objective, batch_loss
from stages.metrics.agreement import total
from stages.songs import DIMENSIONS
from store import EmbeddingStore, StoreError, StoreWriter, write_receipt
from tests.stages.head.training.helpers import StopsAt, trained

# Gigabytes for 20 of the 36 training records of `learnable` as int8.
PARTLY = 1.1e-5


def numbers_of(out: Path) -> dict[str, object]:
    """All results of a run, without its times."""
    untimed = [{k: v for k, v in row.items() if k not in ("seconds", "waiting")} for row in rows(out / "steps.csv")]
    names = ("model.safetensors", "novelty.safetensors", "metrics.json", "predictions.csv", "evaluations.csv")
    return {"steps.csv": untimed, **{name: (out / name).read_bytes() for name in names}}


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


class Shown(NamedTuple):
    """A batch as passed to the loss: patches of each song, the plan, and the objective."""

    lengths: list[int]
    batch: PlannedBatch
    objective: Objective


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[Shown]:
    """Every batch of the runs of a test, in order."""
    batches: list[Shown] = []

    def watched(model: PackedModel, packed: Packed, batch: PlannedBatch, objective: Objective, **options) -> tuple:
        batches.append(Shown(packed.lengths, batch, objective))
        return batch_loss(model, packed, batch, objective, **options)

    monkeypatch.setattr(trainer, "batch_loss", watched)
    return batches


def test_a_head_learns_and_fails_on_shuffled_ratings(tmp_path: Path, make_learnable: Callable) -> None:
    many = make_learnable(tmp_path, songs=80, views=1)
    config = TrainConfig(size="small", learning_rate=3e-3, accumulate=1, epochs=12, device="cpu", precision="fp32")
    learned = trained(many, tmp_path / "learned", config).metrics["mean"]["SRCC"]
    control = trained(many, tmp_path / "control", replace(config, shuffle_labels=True)).metrics["mean"]["SRCC"]
    assert learned > 0.8
    assert abs(control) < 0.35


@pytest.mark.parametrize("track", [1, 2])
def test_a_seeded_run_repeats_bit_for_bit(tmp_path: Path, learnable, config: TrainConfig, track: int) -> None:
    for name in ("one", "two"):
        trained(learnable, tmp_path / name, config, track=track)
        torch.rand(7)  # random numbers drawn outside must not matter
    assert numbers_of(tmp_path / "one") == numbers_of(tmp_path / "two")
    trained(learnable, tmp_path / "other", replace(config, seed=1), track=track)
    assert numbers_of(tmp_path / "one")["model.safetensors"] != numbers_of(tmp_path / "other")["model.safetensors"]


@pytest.mark.parametrize(("every", "stop"), [(0, 10), (2, 7), (2, 2)])
def test_a_resumed_run_has_the_same_result(
    tmp_path: Path, learnable, config: TrainConfig, every: int, stop: int
) -> None:
    config = replace(config, evaluate_every=every)
    trained(learnable, tmp_path / "whole", config)
    with pytest.raises(InterruptedError):
        trained(learnable, tmp_path / "cut", config, listeners=(StopsAt(stop),))
    assert not (tmp_path / "cut" / "run.json").exists()
    trained(learnable, tmp_path / "cut", config, resume=True)
    assert numbers_of(tmp_path / "cut") == numbers_of(tmp_path / "whole")
    assert not (tmp_path / "cut" / "resume.pt").exists()


@pytest.mark.parametrize("stop", [12, 16])
def test_a_plateau_schedule_resumes(tmp_path: Path, learnable, config: TrainConfig, stop: int) -> None:
    config = replace(config, epochs=4, evaluate_every=1, schedule="plateau", plateau_patience=1)
    trained(learnable, tmp_path / "whole", config)
    rates = [float(row["learning_rate"]) for row in rows(tmp_path / "whole" / "steps.csv")]
    assert rates[0] > rates[stop - 1] > rates[-1], "it must be halved before and after the cut"
    with pytest.raises(InterruptedError):
        trained(learnable, tmp_path / "cut", config, listeners=(StopsAt(stop),))
    trained(learnable, tmp_path / "cut", config, resume=True)
    assert numbers_of(tmp_path / "cut") == numbers_of(tmp_path / "whole")
    params = json.loads((tmp_path / "cut" / "params.json").read_text())
    assert (params["schedule"], params["plateau_patience"]) == ("plateau", 1)


def test_the_rate_is_constant_unless_a_schedule_is_chosen(tmp_path: Path, learnable, config: TrainConfig) -> None:
    trained(learnable, tmp_path / "run", replace(config, plateau_patience=1))
    assert {float(row["learning_rate"]) for row in rows(tmp_path / "run" / "steps.csv")} == {config.learning_rate}
    assert json.loads((tmp_path / "run" / "params.json").read_text())["schedule"] == "constant"


def test_held_and_streamed_records_give_the_same_result(tmp_path: Path, learnable, config: TrainConfig) -> None:
    short = replace(config, epochs=2)
    trained(learnable, tmp_path / "held", short)
    ways = {
        "streamed": {"memory": 0.0, "workers": 1},
        "without threads": {"memory": 0.0, "workers": 0},
        "some held": {"memory": PARTLY},
        "resident": {"resident": "float16"},
    }
    for name, options in ways.items():
        trained(learnable, tmp_path / name, replace(short, **options))
        assert numbers_of(tmp_path / "held") == numbers_of(tmp_path / name), name


@pytest.mark.parametrize("dtype", ["int8", "float16"])
def test_resident_records_have_the_values_of_a_store_of_their_type(
    tmp_path: Path, make_learnable: Callable, config: TrainConfig, dtype: str
) -> None:
    short = replace(config, epochs=1)
    (tmp_path / "exact").mkdir()
    (tmp_path / "rounded").mkdir()
    exact, rounded = (
        make_learnable(tmp_path / "exact", dtype="float32"),
        make_learnable(tmp_path / "rounded", dtype=dtype),
    )
    trained(exact, tmp_path / "one", replace(short, resident=dtype))
    trained(rounded, tmp_path / "two", short)
    assert numbers_of(tmp_path / "one")["steps.csv"] == numbers_of(tmp_path / "two")["steps.csv"]
    # Validation songs keep the stored values.
    assert numbers_of(tmp_path / "one")["model.safetensors"] == numbers_of(tmp_path / "two")["model.safetensors"]
    head = load_head(tmp_path / "one")
    found = evaluate_heads([head], store=exact.store, manifest=exact.manifest, draws=10).utterance
    assert found["mean"] == pytest.approx(json.loads((tmp_path / "one" / "metrics.json").read_text())["mean"], abs=1e-6)


def test_a_run_with_some_resident_records_resumes_with_the_same_ones(
    tmp_path: Path, learnable, config: TrainConfig, shown: list[Shown]
) -> None:
    config = replace(config, resident="int8", memory=PARTLY)
    trained(learnable, tmp_path / "whole", config)
    partners = {(item.song, item.view) for each in shown for item in each.batch.items[each.batch.anchors :]}
    assert json.loads((tmp_path / "whole" / "params.json").read_text())["resident_records"] == 20
    assert sum(view == 1 for _, view in partners) == 2, "18 songs have their first view held, two also their second"
    with pytest.raises(InterruptedError):
        trained(learnable, tmp_path / "cut", config, listeners=(StopsAt(7),))
    with pytest.raises(HeadError, match=r"params\.json: resident_records was 20, now it is 36; cannot resume"):
        trained(learnable, tmp_path / "cut", replace(config, memory=1.0), resume=True)
    # Without a number, the run keeps its own: the memory that is free changes.
    trained(learnable, tmp_path / "cut", replace(config, memory=None), resume=True)
    assert numbers_of(tmp_path / "cut") == numbers_of(tmp_path / "whole")
    params = json.loads((tmp_path / "cut" / "params.json").read_text())
    (tmp_path / "cut" / "run.json").unlink()
    (tmp_path / "cut" / "resume.pt").touch()
    (tmp_path / "cut" / "params.json").write_text(json.dumps({**params, "resident_records": "all"}))
    with pytest.raises(HeadError, match=r"params\.json: resident_records must be a whole number, found 'all'"):
        trained(learnable, tmp_path / "cut", replace(config, memory=None), resume=True)


def test_the_next_epoch_is_read_before_this_one_ends(
    tmp_path: Path, learnable, config: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Counts(Listener):
        def evaluated(self, row: EvaluationRow) -> None:
            counts.append(len([item for item in requested if item.song not in validated]))

    requested: list[Item] = []
    counts: list[int] = []
    original = Records.cut
    monkeypatch.setattr(Records, "cut", lambda records, item: requested.append(item) or original(records, item))
    validated = {song.song_id for song in learnable.manifest.split("val")}
    trained(learnable, tmp_path / "run", replace(config, workers=1), listeners=(Counts(),))
    used, ahead = 2 * 36, 2 * 4  # an epoch's anchors and partners; one batch ahead
    assert counts == [used + ahead, 2 * used + ahead, 3 * used]


def test_another_run_is_not_resumed(tmp_path: Path, learnable, config: TrainConfig) -> None:
    with pytest.raises(InterruptedError):
        trained(learnable, tmp_path / "cut", config, listeners=(StopsAt(10),))
    with pytest.raises(HeadError, match=r"sigma was 1\.0, now it is 2\.0; cannot resume with changed settings"):
        trained(learnable, tmp_path / "cut", replace(config, sigma=2.0), resume=True)
    (tmp_path / "cut" / "resume.pt").write_bytes(b"damaged")
    with pytest.raises(HeadError, match=r"resume\.pt: cannot be resumed"):
        trained(learnable, tmp_path / "cut", config, resume=True)


def test_resume_starts_a_missing_run(tmp_path: Path, learnable, config: TrainConfig) -> None:
    report = trained(learnable, tmp_path / "new", replace(config, epochs=1), resume=True)
    assert report.steps == 5  # 36 records, batches of 4, two per step


def test_nan_stops_with_the_step_and_the_songs(tmp_path: Path, learnable, config: TrainConfig) -> None:
    with pytest.raises(HeadError, match=r"stopped at step \d+ \(epoch 1\): loss nan.*its songs: söng \d+, söng"):
        trained(learnable, tmp_path / "nan", replace(config, learning_rate=1e30))


def test_early_stopping_keeps_the_best(tmp_path: Path, learnable, config: TrainConfig) -> None:
    report = trained(learnable, tmp_path / "early", replace(config, epochs=60, learning_rate=1e-2, patience=2))
    seen = rows(tmp_path / "early" / "evaluations.csv")
    totals = [float(row["total"]) for row in seen]
    assert len(seen) < 60
    assert np.argmax(totals) == len(seen) - 3
    assert report.best.total == max(totals)
    assert [row["best"] for row in seen[-2:]] == ["False", "False"]
    # The folder has the best head, not the last.
    kept = [load_head(tmp_path / "early")]
    found = evaluate_heads(kept, store=learnable.store, manifest=learnable.manifest, draws=10).utterance
    assert total(found) == pytest.approx(max(totals), abs=1e-6)
    assert total(report.metrics) == pytest.approx(max(totals), abs=1e-6)
    assert totals[-1] < max(totals) - 1e-3


def test_all_figures_of_a_run_are_in_its_folder(tmp_path: Path, learnable, config: TrainConfig) -> None:
    out = tmp_path / "run"
    report = trained(learnable, out, config)
    assert json.loads((out / "params.json").read_text())["beta"] == 0.05
    assert json.loads((out / "receipt.json").read_text()) == EmbeddingStore.open(learnable.store).receipt()
    assert json.loads((out / "versions.json").read_text())["torch"] == version("torch")
    assert json.loads((out / "metrics.json").read_text()) == report.metrics
    assert json.loads((out / "run.json").read_text())["steps"] == report.steps == len(rows(out / "steps.csv"))
    assert len(rows(out / "predictions.csv")) == 6
    assert {"learning_rate", "gradient_norm", "loss"} <= rows(out / "steps.csv")[0].keys()


def test_the_saved_head_has_the_scores_of_the_run(tmp_path: Path, learnable, config: TrainConfig) -> None:
    report = trained(learnable, tmp_path / "run", config)
    found = evaluate_heads([load_head(tmp_path / "run")], store=learnable.store, manifest=learnable.manifest, draws=10)
    for name, row in found.utterance.items():
        assert row == pytest.approx(report.metrics[name], abs=1e-6)


def test_a_changed_store_is_refused(tmp_path: Path, make_learnable: Callable, config: TrainConfig) -> None:
    learnable = make_learnable(tmp_path, songs=12)
    write_receipt(EmbeddingStore.open(learnable.store), tmp_path / "receipt.json")
    (tmp_path / "other").mkdir()
    other = make_learnable(tmp_path / "other", songs=13)
    with pytest.raises(StoreError, match=r"songs: expected 12, found 13; the store has changed since"):
        trained(other, tmp_path / "run", config, receipt=tmp_path / "receipt.json")


def test_songs_missing_in_the_store_are_named_or_allowed(
    tmp_path: Path, make_learnable: Callable, config: TrainConfig
) -> None:
    small = make_learnable(tmp_path, songs=12)
    (tmp_path / "more").mkdir()
    manifest = make_learnable(tmp_path / "more", songs=14).manifest
    mixed = small._replace(manifest=manifest)
    with pytest.raises(HeadError, match=r"lacks 1 of 10 train songs .*'söng 13'; run hear-extract again"):
        trained(mixed, tmp_path / "run", config)
    report = trained(mixed, tmp_path / "run", replace(config, allow_missing=1, epochs=1))
    assert report.missing == ("söng 13", "söng 12")


def test_streams_are_chosen_by_architecture_and_layer(
    tmp_path: Path, make_learnable: Callable, config: TrainConfig
) -> None:
    both = make_learnable(tmp_path, layers=(6, 10))
    trained(both, tmp_path / "hear", replace(config, epochs=1))
    trained(both, tmp_path / "songeval", replace(config, epochs=1, architecture="songeval"))
    assert load_head(tmp_path / "hear").streams == ("musicfm/track@10", "muq/track@10")
    assert load_head(tmp_path / "songeval").streams == ("muq/track@6",)
    with pytest.raises(HeadError, match=r"no stream 'muq/segment'; found musicfm/track@6"):
        trained(both, tmp_path / "none", replace(config, streams=("muq/segment",)))


def test_by_default_whole_songs_in_all_views_are_mixed_after_pooling(
    tmp_path: Path, learnable, config: TrainConfig, shown: list[Shown]
) -> None:
    trained(learnable, tmp_path / "run", replace(config, epochs=1))
    store = EmbeddingStore.open(learnable.store)
    for lengths, batch, objective in shown:
        assert lengths == [store.frames(item.song, item.view) // 3 for item in batch.items]
        assert len(lengths) == 2 * batch.anchors == 8
        assert objective == Objective(beta=0.05, smooth_l1_beta=0.5, mix="pooled")
    assert len({(item.song, item.view) for each in shown for item in each.batch.items[:4]}) == 36


def test_mixing_frames_is_an_option(tmp_path: Path, learnable, config: TrainConfig, shown: list[Shown]) -> None:
    trained(learnable, tmp_path / "run", replace(config, epochs=1, mix="frames", beta=0.5, smooth_l1_beta=1.0))
    assert {each.objective for each in shown} == {Objective(beta=0.5, smooth_l1_beta=1.0, mix="frames")}
    assert {len(each.lengths) for each in shown} == {8}


def test_mixing_can_be_switched_off(tmp_path: Path, learnable, config: TrainConfig, shown: list[Shown]) -> None:
    trained(learnable, tmp_path / "run", replace(config, epochs=1, mix="none"))
    assert {len(each.lengths) for each in shown} == {4}
    assert {each.batch.share for each in shown} == {1.0}


def test_one_view_per_song_and_epoch_is_an_option(
    tmp_path: Path, learnable, config: TrainConfig, shown: list[Shown]
) -> None:
    report = trained(learnable, tmp_path / "run", replace(config, epochs=2, views_per_epoch=1))
    assert report.steps == 6  # 18 songs, batches of 4, two per step, two epochs
    anchors = [item for each in shown for item in each.batch.items[: each.batch.anchors]]
    assert len({item.song for item in anchors[:18]}) == 18
    assert {item.view for item in anchors} == {0, 1}


def test_long_songs_are_cropped_in_training_and_validated_whole(
    tmp_path: Path, learnable, config: TrainConfig, shown: list[Shown]
) -> None:
    report = trained(learnable, tmp_path / "run", replace(config, epochs=1, crop=0.2))  # 5 frames at 25 Hz: one patch
    assert {length for each in shown for length in each.lengths} == {1}
    store, head = EmbeddingStore.open(learnable.store), load_head(tmp_path / "run")
    predicted = rows(tmp_path / "run" / "predictions.csv")
    for row in predicted:
        whole = head.score(store.read(row["song_id"], 0))
        assert [float(row[f"predicted_{name}"]) for name in DIMENSIONS] == pytest.approx(list(whole.values()), abs=1e-5)
    assert len(predicted) == 6
    found = evaluate_heads([head], store=learnable.store, manifest=learnable.manifest, draws=10)
    assert found.utterance["mean"] == pytest.approx(report.metrics["mean"], abs=1e-6)


def test_augmented_views_are_never_validated(tmp_path: Path, make_learnable: Callable, config: TrainConfig) -> None:
    learnable, config = make_learnable(tmp_path), replace(config, epochs=1)
    trained(learnable, tmp_path / "plain", config)
    writer = StoreWriter.open(learnable.store, EmbeddingStore.open(learnable.store).spec)
    validated = [song.song_id for song in learnable.manifest.split("val")]
    for song in validated:
        writer.write(song, 1, np.full((2, 12, 8), 9, np.float32), attributes={"seconds": 1.0})
    data = open_data(learnable.store, learnable.manifest, track=2, config=config)
    assert data.val.records() == [(song, 0) for song in validated]
    assert len(data.train.records()) == 36
    trained(learnable, tmp_path / "more", config)
    assert numbers_of(tmp_path / "more") == numbers_of(tmp_path / "plain")


def test_bf16_is_used_in_training_and_fp32_in_validation(tmp_path: Path, learnable, config: TrainConfig) -> None:
    seen: set[tuple[bool, torch.dtype]] = set()

    def watch(module: torch.nn.Module, inputs: object, output: torch.Tensor) -> None:
        if isinstance(module, torch.nn.Linear):
            seen.add((module.training, output.dtype))

    handle = torch.nn.modules.module.register_module_forward_hook(watch)
    try:
        trained(learnable, tmp_path / "run", replace(config, epochs=1, precision="bf16"))
    finally:
        handle.remove()
    assert seen == {(True, torch.bfloat16), (False, torch.float32)}
    trained(learnable, tmp_path / "fp32", replace(config, epochs=1))
    for rounded, exact in zip(*(rows(tmp_path / name / "steps.csv") for name in ("run", "fp32")), strict=True):
        assert float(rounded["loss"]) == pytest.approx(float(exact["loss"]), rel=0.05)


def test_all_five_dimensions_have_scores_between_1_and_5(tmp_path: Path, learnable, config: TrainConfig) -> None:
    trained(learnable, tmp_path / "run", config)
    head = load_head(tmp_path / "run")
    scores = head.score(np.full((2, 9, 8), 50.0, np.float32))
    assert tuple(scores) == DIMENSIONS
    assert all(1 <= score <= 5 for score in scores.values())


def test_listeners_receive_the_whole_run(tmp_path: Path, learnable, config: TrainConfig) -> None:
    class Heard(Listener):
        def __init__(self) -> None:
            self.calls: list[str] = []

        def begin(self, *, steps: int, done: int) -> None:
            self.calls.append(f"{done} of {steps}")

        def evaluated(self, row: EvaluationRow) -> None:
            self.calls.append(f"evaluated {row.step}")

        def end(self) -> None:
            self.calls.append("end")

    heard = Heard()
    trained(learnable, tmp_path / "run", config, listeners=(heard,))
    assert heard.calls == ["0 of 15", "evaluated 5", "evaluated 10", "evaluated 15", "end"]


def test_tensorboard_gets_the_curves(tmp_path: Path, learnable, config: TrainConfig) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    from stages.head.training.tensorboard import TensorBoardWriter

    trained(learnable, tmp_path / "run", config, listeners=(TensorBoardWriter(tmp_path / "board"),))
    board = EventAccumulator(str(tmp_path / "board")).Reload()
    losses = [event.value for event in board.Scalars("train/loss")]
    np.testing.assert_allclose(losses, [float(row["loss"]) for row in rows(tmp_path / "run" / "steps.csv")], rtol=1e-6)
    assert [event.step for event in board.Scalars("validation/srcc")] == [5, 10, 15]
