"""Fitting in passes equals fitting in memory, through the whole nested cross-validation."""

import tracemalloc
from pathlib import Path

import dask.array as da
import numpy as np
import pytest
from sklearn.preprocessing import StandardScaler

from stages.probe.models.crossvalidation import cross_validate, fit_final
from stages.probe.models.fitting import Design, InMemory
from stages.probe.models.gradients import Gradients
from stages.probe.models.out_of_core import FileRows, NormalEquations, Passes, scale_of
from stages.probe.models.registry import MODELS

SONGS, VIEWS, FEATURES = 40, 3, 9
RNG = np.random.default_rng(1)
FOLDS = np.arange(SONGS) % 4
# Large means with small spreads, which lose digits if squares are summed naively.
X = (RNG.normal(size=(SONGS * VIEWS, FEATURES)) * 0.5 + np.linspace(-40, 40, FEATURES)).astype(np.float32)
X[:, 4] = 7.0
SONG = np.repeat(np.arange(SONGS), VIEWS)
CLEAN = np.tile(np.arange(VIEWS) == 0, SONGS)
SIGNAL = np.array([X[song == SONG].mean(axis=0) for song in range(SONGS)])
Y = SIGNAL[:, 0] * 3 - SIGNAL[:, 2] + 100


def designs() -> tuple[Design, Design]:
    lazy = da.from_array(X, chunks=(50, FEATURES))
    return Design(X, SONG, CLEAN), Design(lazy, SONG, CLEAN)


def test_ridge_is_equal_to_rounding() -> None:
    whole, lazy = designs()
    near, far = InMemory(whole, Y, FOLDS, model=MODELS["ridge"]), NormalEquations(lazy, Y, FOLDS)
    grid = MODELS["ridge"].grid
    expected, found = (cross_validate(fitter, Y, FOLDS, grid) for fitter in (near, far))
    np.testing.assert_allclose(found.scores, expected.scores, rtol=1e-9)
    assert (found.settings, found.final) == (expected.settings, expected.final)
    for one, other in zip(fit_final(far, 1.0).scores(X), fit_final(near, 1.0).scores(X), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9)


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("name", ["logistic", "linear-svm"])
def test_classifiers_reach_the_same_minimum(name: str, classes: int) -> None:
    whole, lazy = designs()
    labels = np.digitize(Y, np.quantile(Y, np.arange(1, classes) / classes)).astype(float)
    near = InMemory(whole, labels, FOLDS, model=MODELS[name], classes=classes)
    far = Gradients(lazy, labels, FOLDS, classes=classes, margin=name == "linear-svm")
    for expected, found in zip(near.fit({1, 3}, [1e-3, 1e-1]), far.fit({1, 3}, [1e-3, 1e-1]), strict=True):
        spread = np.ptp(expected.scores(X))
        np.testing.assert_allclose(found.scores(X), expected.scores(X), atol=2e-3 * spread)
    expected, found = (cross_validate(fitter, labels, FOLDS, [1e-3, 1e-1]) for fitter in (near, far))
    np.testing.assert_array_equal(found.scores.argmax(axis=1), expected.scores.argmax(axis=1))
    assert found.settings == expected.settings


def test_scores_are_of_clean_rows_in_the_songs_order() -> None:
    whole, lazy = designs()
    near, far = InMemory(whole, Y, FOLDS, model=MODELS["ridge"]), NormalEquations(lazy, Y, FOLDS)
    predictor = near.fit((), [1.0])[0]
    expected = predictor.scores(X[CLEAN][FOLDS == 2].astype(float))
    for fitter in (near, far):
        np.testing.assert_allclose(fitter.scores([predictor], 2)[0], expected)


def test_scales_are_scikit_learns() -> None:
    scaler = StandardScaler().fit(X.astype(float))
    np.testing.assert_array_equal(scale_of(scaler.var_, scaler.mean_, len(X)), scaler.scale_)
    assert scaler.scale_[4] == 1.0


def test_a_pass_holds_a_few_chunks_and_not_the_file(tmp_path: Path) -> None:
    """40 MB in chunks of 0.4 MB, as float64 0.8 MB, of all columns and of some."""
    shape = 10_000, 1_000
    x = np.lib.format.open_memmap(tmp_path / "x.npy", mode="w+", dtype=np.float32, shape=shape)
    x[:] = np.arange(shape[0])[:, None]
    songs = np.arange(shape[0])
    tracemalloc.start()
    design = Design(FileRows(x).in_chunks(100), songs, np.ones(shape[0], bool))
    for part in (design, design.of_columns(np.arange(500))):
        mean = Passes(part, songs.astype(float), songs % 4).mean()
        np.testing.assert_allclose(mean, np.full(part.x.shape[1], (shape[0] - 1) / 2))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10e6
