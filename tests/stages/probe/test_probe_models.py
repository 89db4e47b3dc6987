"""Each model's arrays give the predictions of scikit-learn's pipeline."""

import numpy as np
import pytest
from scipy.special import softmax
from sklearn.compose import TransformedTargetRegressor
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVR, LinearSVC

from stages.probe.models.registry import MODELS

RNG = np.random.default_rng(0)
X = RNG.normal(size=(80, 12)) * np.linspace(0.1, 30, 12) + 5
X[:, 3] = 2.5  # a constant feature must not divide by zero
Y = X[:, 0] * 4 + X[:, 11] * 0.05 + RNG.normal(size=80) * 0.1
CLASSES = np.digitize(Y, np.quantile(Y, [1 / 3, 2 / 3])).astype(float)
NEW = RNG.normal(size=(30, 12)) * np.linspace(0.1, 30, 12) + 5


def arrays(name: str, setting: float, labels: np.ndarray, classes: int = 0) -> np.ndarray:
    return MODELS[name].fit(X, labels, [setting], classes)[0].scores(NEW)


@pytest.mark.parametrize(
    ("name", "setting", "model"),
    [
        ("ridge", 3.0, Ridge(alpha=3.0)),
        ("svr", 10.0, TransformedTargetRegressor(SVR(C=10.0), transformer=StandardScaler())),
        ("knn", 7, KNeighborsRegressor(7)),
    ],
)
def test_regression_is_scikit_learns(name: str, setting: float, model: object) -> None:
    expected = make_pipeline(StandardScaler(), model).fit(X, Y).predict(NEW)
    np.testing.assert_allclose(arrays(name, setting, Y)[:, 0], expected, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("classes", [2, 3])
def test_logistic_is_scikit_learns(classes: int) -> None:
    labels = np.minimum(CLASSES, classes - 1)
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1)).fit(X, labels)
    found = softmax(arrays("logistic", 0.1, labels, classes), axis=1)
    np.testing.assert_allclose(found, model.predict_proba(NEW), atol=1e-9)


@pytest.mark.parametrize("classes", [2, 3])
def test_linear_svm_is_scikit_learns(classes: int) -> None:
    labels = np.minimum(CLASSES, classes - 1)
    model = make_pipeline(StandardScaler(), LinearSVC(C=0.1, dual=False)).fit(X, labels)
    found, expected = arrays("linear-svm", 0.1, labels, classes), model.decision_function(NEW)
    np.testing.assert_allclose(found[:, -1], expected if classes == 2 else expected[:, -1], atol=1e-9)
    np.testing.assert_array_equal(found.argmax(axis=1), model.predict(NEW))


def test_neighbours_shares_are_scikit_learns() -> None:
    model = make_pipeline(StandardScaler(), KNeighborsClassifier(7)).fit(X, CLASSES)
    np.testing.assert_allclose(arrays("knn", 7, CLASSES, 3), model.predict_proba(NEW), atol=1e-12)


def test_the_grid_starts_with_the_simplest() -> None:
    spread = [np.ptp(one.scores(NEW)) for one in MODELS["ridge"].fit(X, Y, MODELS["ridge"].grid, 0)]
    assert spread == sorted(spread)
    for name in ("logistic", "linear-svm", "svr"):
        assert list(MODELS[name].grid) == sorted(MODELS[name].grid)
    assert list(MODELS["knn"].grid) == sorted(MODELS["knn"].grid, reverse=True)
