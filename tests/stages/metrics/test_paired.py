"""Paired comparison of scores."""

import numpy as np
import pytest

from stages.metrics.paired import holm, paired_difference


def test_a_known_difference_is_found():
    second = np.linspace(1, 5, 40)
    first = second + np.tile([0.3, 0.1], 20)
    found = paired_difference(first, second)
    assert found.pairs == 40
    assert found.mean == pytest.approx(0.2)
    # The standard error of the mean is 0.1 / √40.
    assert found.low == pytest.approx(0.2 - 1.96 * 0.1 / 40**0.5, abs=0.01)
    assert found.high == pytest.approx(0.2 + 1.96 * 0.1 / 40**0.5, abs=0.01)
    assert found.win_rate == 1.0
    assert found.p < 1e-6


def test_swapping_the_two_swaps_the_sign():
    generator = np.random.default_rng(0)
    first, second = generator.random(30), generator.random(30)
    there, back = paired_difference(first, second), paired_difference(second, first)
    assert (back.mean, back.low, back.high) == pytest.approx((-there.mean, -there.high, -there.low))
    assert back.win_rate == pytest.approx(1 - there.win_rate)
    assert back.p == pytest.approx(there.p)


def test_equal_scores_do_not_differ():
    found = paired_difference(np.ones(5), np.ones(5))
    assert (found.mean, found.low, found.high, found.p, found.win_rate) == (0.0, 0.0, 0.0, 1.0, 0.5)


def test_vectors_of_different_songs_are_refused():
    with pytest.raises(ValueError, match=r"found \(3,\) and \(4,\)"):
        paired_difference(np.ones(3), np.ones(4))


def test_holm_equals_the_published_example():
    # Holm 1979 steps through sorted p-values: 4 × 0.005, 3 × 0.01, 2 × 0.03, then the largest so far.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.9]) == pytest.approx([1.0, 1.0])
