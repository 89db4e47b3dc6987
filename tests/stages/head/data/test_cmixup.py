"""Extreme bandwidths of C-Mixup: for any σ there is a partner, and no NaN."""

import numpy as np
import pytest

from stages.head.data.cmixup import song_weights

LABELS = np.array([[1.0], [4.0], [5.0]])


@pytest.mark.parametrize("sigma", [1e-3, 1e-200, 1e-300, 5e-324])
def test_a_tiny_sigma_takes_the_nearest_songs(sigma: float) -> None:
    weights = song_weights(LABELS, np.array([1, 3, 1]), sigma=sigma, rows=np.arange(3))
    np.testing.assert_array_equal(weights, [[0, 1, 0], [0, 0, 1], [0, 1, 0]])


@pytest.mark.parametrize("sigma", [1e3, 1e200, 1.7e308])
def test_a_huge_sigma_takes_any_view_of_another_song(sigma: float) -> None:
    weights = song_weights(LABELS, np.array([1, 3, 1]), sigma=sigma, rows=np.arange(3))
    np.testing.assert_allclose(weights, [[0, 0.75, 0.25], [0.5, 0, 0.5], [0.25, 0.75, 0]], atol=1e-5)
