"""The four metrics against the challenge's own values, and their edge cases."""

import json
from pathlib import Path

import numpy as np
import pytest

from stages.metrics.agreement import METRICS, ktau, lcc, score_metrics, srcc, total, tta

PARITY = Path(__file__).parents[2] / "parity"
DIMENSIONS = ("Coherence", "Musicality", "Memorability", "Clarity", "Naturalness")


@pytest.mark.parametrize(("track", "columns"), [("track1", [1]), ("track2", [0, 1, 2, 3, 4])])
def test_metrics_as_published(track: str, columns: list[int]) -> None:
    values = np.load(PARITY / "objectives.npz")
    expected = json.loads((PARITY / "metrics.json").read_text())[track]
    names = [DIMENSIONS[column] for column in columns]
    found = score_metrics(values["metrics_true"][:, columns], values["metrics_pred"][:, columns], dimensions=names)
    for name, row in expected.items():
        assert {metric: round(value, 3) for metric, value in found[name].items()} == row


def test_the_mean_is_over_dimensions_and_the_total_sums_its_metrics() -> None:
    rng = np.random.default_rng(0)
    rated = rng.uniform(1, 5, (30, 2))
    found = score_metrics(rated, rated + rng.normal(0, 0.5, rated.shape), dimensions=("Clarity", "Coherence"))
    for metric in METRICS:
        assert found["mean"][metric] == pytest.approx((found["Clarity"][metric] + found["Coherence"][metric]) / 2)
    assert total(found) == pytest.approx(sum(found["mean"].values()))


@pytest.mark.parametrize("statistic", [lcc, srcc, ktau])
def test_the_correlation_with_a_constant_is_0(statistic: object) -> None:
    rising, flat = np.arange(5.0), np.full(5, 3.0)
    assert statistic(rising, flat) == 0.0  # type: ignore[operator]
    assert statistic(flat, rising) == 0.0  # type: ignore[operator]
    assert statistic(rising[:1], rising[:1]) == 0.0  # type: ignore[operator]
    assert statistic(rising, 2 * rising) == pytest.approx(1.0)  # type: ignore[operator]


def test_tta_is_f1_at_the_threshold() -> None:
    rated = np.array([4.0, 3.9, 5.0, 1.0])
    assert tta(rated, np.array([4.0, 4.2, 3.0, 1.0]), threshold=4.0) == pytest.approx(0.5)
    assert tta(rated, rated, threshold=6.0) == 0.0


def test_shapes_must_agree() -> None:
    with pytest.raises(ValueError, match=r"two \(songs, 2\) arrays, found \(3, 2\) and \(3, 1\)"):
        score_metrics(np.zeros((3, 2)), np.zeros((3, 1)), dimensions=("Clarity", "Coherence"))
