"""Metrics equal scikit-learn's, intervals have their coverage, and the baseline is constant."""

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score, r2_score

from stages.probe.scores import baseline, classification_metrics, confusion, regression_metrics, score

RNG = np.random.default_rng(0)


def test_metrics_are_scikit_learns() -> None:
    truth, predicted = RNG.normal(size=50), RNG.normal(size=50)
    assert regression_metrics(truth, predicted)["R2"] == pytest.approx(r2_score(truth, predicted))
    classes, said = RNG.integers(3, size=60), RNG.integers(3, size=60)
    found = classification_metrics(classes, said)
    assert found["accuracy"] == pytest.approx(accuracy_score(classes, said))
    assert found["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(classes, said))
    assert found["macro_F1"] == pytest.approx(f1_score(classes, said, average="macro"))


def test_confusion_has_one_row_per_true_class() -> None:
    table = confusion(np.array([0, 0, 1, 2]), np.array([0, 1, 1, 0]), classes=3)
    np.testing.assert_array_equal(table, [[1, 1, 0], [0, 1, 0], [1, 0, 0]])


def test_the_baseline_is_constant() -> None:
    labels = np.repeat([0.0, 1.0, 2.0], [5, 9, 4])
    np.testing.assert_array_equal(baseline(labels, classes=3), 1.0)
    found = score(labels, labels, np.arange(18), classes=3, draws=50)
    assert found.baseline["accuracy"].value == pytest.approx(0.5)
    assert found.gain.value == pytest.approx(0.5)
    values = RNG.normal(size=18)
    assert score(values, values, np.arange(18), classes=0, draws=50).baseline["R2"].value == pytest.approx(0.0)


def test_intervals_cover_the_true_value_in_95_percent() -> None:
    """200 samples with accuracy 0.7: the interval contains 0.7 in about 95 % of them."""
    hits = 0
    for seed in range(200):
        right = np.random.default_rng(seed).random(120) < 0.7
        truth = np.tile([0.0, 1.0], 60)
        found = score(truth, np.where(right, truth, 1 - truth), np.arange(120), classes=2, draws=100, seed=seed)
        hits += found.probe["accuracy"].low <= 0.7 <= found.probe["accuracy"].high
    assert 0.89 <= hits / 200 <= 0.99


def test_songs_of_one_group_are_drawn_together() -> None:
    """Ten groups of twelve equal songs: the interval is that of ten answers, not of 120."""
    truth = np.tile([0.0, 1.0], 60)
    group = np.repeat(np.arange(10), 12)
    said = np.where(group < 7, truth, 1 - truth)
    alone, together = (score(truth, said, one, classes=2, draws=400) for one in (np.arange(120), group))
    wide, narrow = together.probe["accuracy"], alone.probe["accuracy"]
    assert wide.high - wide.low > 2.5 * (narrow.high - narrow.low)
    assert wide.value == narrow.value
