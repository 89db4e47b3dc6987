"""Heads compared on ratings: the same songs and samples for all, corrected tests, and notes on training."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import norm, wilcoxon

from stages.compare.comparison import Comparison
from stages.compare.gate import below_limits, worse_than
from stages.compare.heads import compare_heads
from stages.evaluate.evaluation import evaluate_heads
from stages.evaluate.tables import write_evaluation
from stages.head.config import TrainConfig
from stages.head.errors import HeadError
from stages.head.files import write_json
from stages.head.training.train import train_head
from stages.metrics.agreement import METRICS
from stages.metrics.bootstrap import interval
from stages.metrics.paired import holm
from stages.metrics.resampling import resampled_metrics
from stages.scoring.errors import ScoringError
from stages.songs import DIMENSIONS


@pytest.fixture(scope="module")
def place(learnable: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Heads `good` (eight epochs), `weak` (one epoch, hardly trained) and `one` (Track 1)."""
    folder = tmp_path_factory.mktemp("heads")
    for name, track, epochs, rate in (("good", 2, 8, 3e-3), ("weak", 2, 1, 1e-6), ("one", 1, 1, 1e-3)):
        config = TrainConfig(
            size="small", learning_rate=rate, epochs=epochs, batch_size=4, device="cpu", precision="fp32", mix="none"
        )
        train_head(learnable.store, learnable.manifest, track=track, out=folder / name, config=config)
    return folder


@pytest.fixture(scope="module")
def compared(learnable: Any, place: Path) -> Comparison:
    return compare_heads(
        [place / "good", place / "weak"], learnable.store, learnable.manifest, split="train", draws=200
    )


def test_differences_are_of_the_same_songs_and_samples(learnable: Any, place: Path, compared: Comparison) -> None:
    good, weak = (
        evaluate_heads(str(place / name), learnable.store, learnable.manifest, split="train", draws=10)
        for name in ("good", "weak")
    )
    tests = {(each.dimension, each.metric): each for each in compared.differences}
    assert list(tests) == [(name, metric) for name in (*DIMENSIONS, "mean") for metric in (*METRICS, "MAE")]
    first, second = (
        resampled_metrics(each.corpus.ratings, each.predicted, dimensions=DIMENSIONS, draws=200)
        for each in (good, weak)
    )
    found, samples = tests["Clarity", "SRCC"], first["Clarity"]["SRCC"] - second["Clarity"]["SRCC"]
    assert found.value == pytest.approx(good.utterance["Clarity"]["SRCC"] - weak.utterance["Clarity"]["SRCC"])
    assert (found.low, found.high) == pytest.approx(interval(samples))
    assert found.p == pytest.approx(2 * norm.sf(abs(found.value) / samples.std(ddof=1)))
    errors = [np.abs(each.predicted - each.corpus.ratings)[:, 3] for each in (good, weak)]
    mae = tests["Clarity", "MAE"]
    assert mae.value == pytest.approx(errors[0].mean() - errors[1].mean(), abs=1e-6)
    assert mae.p == pytest.approx(wilcoxon(errors[0] - errors[1]).pvalue)
    assert mae.win_rate == pytest.approx(np.mean(errors[0] < errors[1]))
    assert [each.adjusted for each in compared.differences] == pytest.approx(holm([e.p for e in compared.differences]))


def test_the_trained_head_is_better_in_words_and_ranks(compared: Comparison, place: Path) -> None:
    good, weak = (each.name for each in compared.systems)
    mae = next(each for each in compared.differences if (each.dimension, each.metric) == ("mean", "MAE"))
    assert mae.better == good
    assert mae.conclusion.startswith(f"{good} has smaller errors than {weak} on the mean: by ")
    assert [each.figures["mean"]["MAE"].ranks for each in compared.systems] == [(1, 1), (2, 2)]


def test_notes_name_songs_of_training_and_selection(learnable: Any, place: Path, compared: Comparison) -> None:
    leak = "the head was trained on 18 of these 18 songs"
    assert [leak in note for note in compared.notes if "trained on" in note] == [True, True]
    found = compare_heads([place / "good", place / "one"], learnable.store, learnable.manifest, draws=20)
    chosen = "its best epoch was chosen on 6 of these 6 songs: its figures are optimistic"
    assert found.notes[-2:] == (f"{place / 'good'}: {chosen}", f"{place / 'one'}: {chosen}")
    # Only what both score, and a single dimension has no mean.
    assert [list(each.figures) for each in found.systems] == [["Musicality"], ["Musicality"]]
    assert len(found.differences) == 5


def test_the_same_head_does_not_differ(learnable: Any, place: Path, tmp_path: Path) -> None:
    (tmp_path / "same").symlink_to(place / "good")
    found = compare_heads([place / "good", tmp_path / "same"], learnable.store, learnable.manifest, draws=20)
    assert {(each.value, each.p, each.better) for each in found.differences} == {(0.0, 1.0, "")}
    with pytest.raises(HeadError, match="good: is named twice"):
        compare_heads([place / "good"] * 2, learnable.store, learnable.manifest)


def test_limits_judge_the_first_head(compared: Comparison) -> None:
    name = compared.systems[0].name
    srcc = compared.systems[0].figures["mean"]["SRCC"].value
    assert below_limits(compared, {"SRCC": srcc, "Clarity.LCC": -1.0}) == []
    assert below_limits(compared, {"SRCC": 1.01}) == [f"{name}: SRCC is {srcc:.3f}, expected at least 1.01"]
    with pytest.raises(ScoringError, match=r"no figure is named 'MAE'; expected one of Coherence\.LCC"):
        below_limits(compared, {"MAE": 1.0})


def test_a_baseline_is_another_head_or_a_report(
    learnable: Any, place: Path, compared: Comparison, tmp_path: Path
) -> None:
    good, weak = (each.name for each in compared.systems)
    turned = compare_heads([weak, good], learnable.store, learnable.manifest, split="train", draws=200)
    assert worse_than(compared, weak) == []
    assert any("has smaller errors than" in line for line in worse_than(turned, good))
    evaluation = evaluate_heads(good, learnable.store, learnable.manifest, split="train", draws=200)
    write_evaluation(evaluation, tmp_path / "evaluation.json")
    only = replace(compared, systems=compared.systems[:1], differences=())
    write_json(tmp_path / "comparison.json", only.to_json())
    for name in ("evaluation.json", "comparison.json"):
        report = str(tmp_path / name)
        assert worse_than(compared, report) == []
        lines = worse_than(turned, report)
        assert lines
        assert all(line.startswith(f"{weak} is worse than {report}: ") for line in lines)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "cannot be read: No such file"),
        ("{}", "cannot be read as a report: lacks 'utterance'"),
        (
            '{"songs": 30, "utterance": {"Groove": {"LCC": 1}}, "intervals": {"Groove": {"LCC": [0, 1]}}}',
            "has none of the figures",
        ),
        ('{"songs": 9, "utterance": {}}', "takes 10 songs or more on both sides, found .* and 9 in the report"),
        ('{"format": "hear-compare/1", "systems": [{"name": "a"}, {"name": "b"}]}', "no system is named .* found a, b"),
    ],
)
def test_other_reports_are_refused(compared: Comparison, tmp_path: Path, text: str | None, message: str) -> None:
    if text is not None:
        (tmp_path / "report.json").write_text(text)
    with pytest.raises(ScoringError, match=message):
        worse_than(compared, str(tmp_path / "report.json"))
