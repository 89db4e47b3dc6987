"""Training: it learns, repeats, resumes to the same bytes, stops when it should, and writes down what it did."""

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
import torch

from stages.evaluate.run import evaluate_heads
from stages.head.checkpoint import load_head
from stages.head.errors import HeadError
from stages.head.history import EvaluationRow, Listener, StepRow
from stages.head.recipe import Recipe
from stages.head.train import TrainReport, train_head
from stages.songs import DIMENSIONS
from store import EmbeddingStore, StoreError, write_receipt


def trained(learnable, out: Path, recipe: Recipe, *, track: int = 2, **options) -> TrainReport:
    return train_head(
        store_root=learnable.store, manifest=learnable.manifest, track=track, out=out, recipe=recipe, **options
    )


def numbers_of(out: Path) -> dict[str, object]:
    """All that a run computed, without how long it took."""
    untimed = [{k: v for k, v in row.items() if k not in ("seconds", "waiting")} for row in rows(out / "steps.csv")]
    names = ("model.safetensors", "novelty.safetensors", "metrics.json", "predictions.csv", "evaluations.csv")
    return {"steps.csv": untimed, **{name: (out / name).read_bytes() for name in names}}


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


class StopsAt(Listener):
    """Ends a run like a kill would, at a step."""

    def __init__(self, step: int) -> None:
        self._step = step

    def step(self, row: StepRow) -> None:
        if row.step == self._step:
            raise InterruptedError


def test_a_head_learns_and_fails_on_shuffled_labels(tmp_path: Path, make_learnable: Callable) -> None:
    many = make_learnable(tmp_path, songs=80, views=1)
    recipe = Recipe(size="small", learning_rate=3e-3, accumulate=1, epochs=12, device="cpu", precision="fp32")
    learnt = trained(many, tmp_path / "learnt", recipe).metrics["mean"]["SRCC"]
    control = trained(many, tmp_path / "control", replace(recipe, shuffle_labels=True)).metrics["mean"]["SRCC"]
    assert learnt > 0.8
    assert abs(control) < 0.35


@pytest.mark.parametrize("track", [1, 2])
def test_a_seeded_run_repeats_bit_for_bit(tmp_path: Path, learnable, recipe: Recipe, track: int) -> None:
    for name in ("one", "two"):
        trained(learnable, tmp_path / name, recipe, track=track)
        torch.rand(7)  # what happens outside must not matter
    assert numbers_of(tmp_path / "one") == numbers_of(tmp_path / "two")
    trained(learnable, tmp_path / "other", replace(recipe, seed=1), track=track)
    assert numbers_of(tmp_path / "one")["model.safetensors"] != numbers_of(tmp_path / "other")["model.safetensors"]


@pytest.mark.parametrize(("every", "stop"), [(0, 10), (2, 7), (2, 2)])
def test_a_run_that_was_cut_off_goes_on_to_the_same_result(
    tmp_path: Path, learnable, recipe: Recipe, every: int, stop: int
) -> None:
    recipe = replace(recipe, evaluate_every=every)
    trained(learnable, tmp_path / "whole", recipe)
    with pytest.raises(InterruptedError):
        trained(learnable, tmp_path / "cut", recipe, listeners=(StopsAt(stop),))
    assert not (tmp_path / "cut" / "run.json").exists()
    trained(learnable, tmp_path / "cut", recipe, resume=True)
    assert numbers_of(tmp_path / "cut") == numbers_of(tmp_path / "whole")
    assert not (tmp_path / "cut" / "resume.pt").exists()


def test_streaming_with_workers_gives_the_bytes_of_reading_from_memory(
    tmp_path: Path, learnable, recipe: Recipe
) -> None:
    trained(learnable, tmp_path / "held", replace(recipe, epochs=2))
    trained(learnable, tmp_path / "streamed", replace(recipe, epochs=2, memory=0.0, workers=1))
    assert numbers_of(tmp_path / "held") == numbers_of(tmp_path / "streamed")


def test_another_run_is_not_resumed(tmp_path: Path, learnable, recipe: Recipe) -> None:
    with pytest.raises(InterruptedError):
        trained(learnable, tmp_path / "cut", recipe, listeners=(StopsAt(10),))
    with pytest.raises(HeadError, match=r"sigma was 1\.0, now it is 2\.0; a resumed run must be the same run"):
        trained(learnable, tmp_path / "cut", replace(recipe, sigma=2.0), resume=True)
    (tmp_path / "cut" / "resume.pt").write_bytes(b"damaged")
    with pytest.raises(HeadError, match=r"resume\.pt: cannot be resumed"):
        trained(learnable, tmp_path / "cut", recipe, resume=True)


def test_resuming_where_nothing_was_begun_starts_anew(tmp_path: Path, learnable, recipe: Recipe) -> None:
    report = trained(learnable, tmp_path / "new", replace(recipe, epochs=1), resume=True)
    assert report.steps == 5  # 36 records, batches of 4, two a step


def test_nan_stops_with_the_step_and_the_songs(tmp_path: Path, learnable, recipe: Recipe) -> None:
    with pytest.raises(HeadError, match=r"stopped at step \d+ \(epoch 1\): loss nan.*its songs: söng \d+, söng"):
        trained(learnable, tmp_path / "nan", replace(recipe, learning_rate=1e30))


def test_early_stopping_keeps_the_best(tmp_path: Path, learnable, recipe: Recipe) -> None:
    report = trained(learnable, tmp_path / "early", replace(recipe, epochs=60, learning_rate=1e-2, patience=2))
    seen = rows(tmp_path / "early" / "evaluations.csv")
    totals = [float(row["total"]) for row in seen]
    assert len(seen) < 60
    assert np.argmax(totals) == len(seen) - 3
    assert report.best.total == max(totals)
    assert [row["best"] for row in seen[-2:]] == ["False", "False"]


def test_every_number_of_a_run_is_in_its_folder(tmp_path: Path, learnable, recipe: Recipe) -> None:
    out = tmp_path / "run"
    report = trained(learnable, out, recipe)
    assert json.loads((out / "params.json").read_text())["beta"] == 0.05
    assert json.loads((out / "receipt.json").read_text()) == EmbeddingStore.open(learnable.store).receipt()
    assert json.loads((out / "versions.json").read_text())["torch"] == version("torch")
    assert json.loads((out / "metrics.json").read_text()) == report.metrics
    assert json.loads((out / "run.json").read_text())["steps"] == report.steps == len(rows(out / "steps.csv"))
    assert len(rows(out / "predictions.csv")) == 6
    assert {"learning_rate", "gradient_norm", "loss"} <= rows(out / "steps.csv")[0].keys()


def test_the_saved_head_scores_as_the_run_said(tmp_path: Path, learnable, recipe: Recipe) -> None:
    report = trained(learnable, tmp_path / "run", recipe)
    found = evaluate_heads(
        [load_head(tmp_path / "run")], store_root=learnable.store, manifest=learnable.manifest, draws=10
    )
    for name, row in found.utterance.items():
        assert row == pytest.approx(report.metrics[name], abs=1e-6)


def test_a_changed_store_is_refused(tmp_path: Path, make_learnable: Callable, recipe: Recipe) -> None:
    learnable = make_learnable(tmp_path, songs=12)
    write_receipt(EmbeddingStore.open(learnable.store), tmp_path / "receipt.json")
    (tmp_path / "other").mkdir()
    other = make_learnable(tmp_path / "other", songs=13)
    with pytest.raises(StoreError, match=r"songs: expected 12, found 13; the store has changed since"):
        trained(other, tmp_path / "run", recipe, receipt=tmp_path / "receipt.json")


def test_songs_that_the_store_lacks_are_named_or_allowed(
    tmp_path: Path, make_learnable: Callable, recipe: Recipe
) -> None:
    small = make_learnable(tmp_path, songs=12)
    (tmp_path / "more").mkdir()
    manifest = make_learnable(tmp_path / "more", songs=14).manifest
    mixed = small._replace(manifest=manifest)
    with pytest.raises(HeadError, match=r"lacks 1 of 10 train songs .*'söng 13'; run hear-extract again"):
        trained(mixed, tmp_path / "run", recipe)
    report = trained(mixed, tmp_path / "run", replace(recipe, allow_missing=1, epochs=1))
    assert report.missing == ("söng 13", "söng 12")


def test_streams_are_chosen_by_architecture_and_layer(tmp_path: Path, make_learnable: Callable, recipe: Recipe) -> None:
    both = make_learnable(tmp_path, layers=(6, 10))
    trained(both, tmp_path / "hear", replace(recipe, epochs=1))
    trained(both, tmp_path / "songeval", replace(recipe, epochs=1, architecture="songeval"))
    assert load_head(tmp_path / "hear").streams == ("musicfm/track@10", "muq/track@10")
    assert load_head(tmp_path / "songeval").streams == ("muq/track@6",)
    with pytest.raises(HeadError, match=r"no stream 'muq/segment'; there are musicfm/track@6"):
        trained(both, tmp_path / "none", replace(recipe, streams=("muq/segment",)))


@pytest.mark.parametrize("change", [{"mix": "frames"}, {"mix": "none"}, {"views_per_epoch": 1}, {"crop": 0.5}])
def test_options_of_the_data(tmp_path: Path, learnable, recipe: Recipe, change: dict) -> None:
    plain = trained(learnable, tmp_path / "plain", recipe)
    changed = trained(learnable, tmp_path / "changed", replace(recipe, **change))
    assert np.isfinite([float(row["loss"]) for row in rows(tmp_path / "changed" / "steps.csv")]).all()
    assert changed.steps == (9 if "views_per_epoch" in change else plain.steps)
    assert numbers_of(tmp_path / "changed")["model.safetensors"] != numbers_of(tmp_path / "plain")["model.safetensors"]


def test_scores_are_of_all_five_dimensions_between_1_and_5(tmp_path: Path, learnable, recipe: Recipe) -> None:
    trained(learnable, tmp_path / "run", recipe)
    head = load_head(tmp_path / "run")
    scores = head.score(np.full((2, 9, 8), 50.0, np.float32))
    assert tuple(scores) == DIMENSIONS
    assert all(1 <= score <= 5 for score in scores.values())


def test_listeners_hear_the_whole_run(tmp_path: Path, learnable, recipe: Recipe) -> None:
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
    trained(learnable, tmp_path / "run", recipe, listeners=(heard,))
    assert heard.calls == ["0 of 15", "evaluated 5", "evaluated 10", "evaluated 15", "end"]


def test_tensorboard_gets_the_curves(tmp_path: Path, learnable, recipe: Recipe) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    from stages.head.tensorboard import TensorBoardWriter

    trained(learnable, tmp_path / "run", recipe, listeners=(TensorBoardWriter(tmp_path / "board"),))
    board = EventAccumulator(str(tmp_path / "board")).Reload()
    losses = [event.value for event in board.Scalars("train/loss")]
    np.testing.assert_allclose(losses, [float(row["loss"]) for row in rows(tmp_path / "run" / "steps.csv")], rtol=1e-6)
    assert [event.step for event in board.Scalars("validation/srcc")] == [5, 10, 15]
