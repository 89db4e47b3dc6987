"""Held-out folds are used neither for fitting nor for choosing the setting."""

from collections.abc import Collection, Sequence

import numpy as np
import pytest

from stages.probe.models.crossvalidation import cross_validate, loss
from stages.probe.models.fitting import Design, InMemory
from stages.probe.models.predictors import Array, Linear, Predictor
from stages.probe.models.registry import MODELS

FOLDS = np.repeat(np.arange(4), 3)
LABELS = np.arange(12.0)


class Recorder:
    """Remembers which folds were left out, and scores each song by the setting."""

    def __init__(self) -> None:
        self.fits: list[frozenset[int]] = []
        self.left: dict[int, frozenset[int]] = {}
        self.scored: list[tuple[frozenset[int], int]] = []

    def fit(self, without: Collection[int], settings: Sequence[float]) -> list[Predictor]:
        self.fits.append(frozenset(without))
        made: list[Predictor] = [Linear(np.zeros((1, 1)), np.array([setting])) for setting in settings]
        self.left.update({id(one): frozenset(without) for one in made})
        self.kept = [*getattr(self, "kept", []), *made]
        return made

    def scores(self, predictors: Sequence[Predictor], fold: int) -> list[Array]:
        self.scored += [(self.left[id(one)], fold) for one in predictors]
        return [one.scores(np.zeros((3, 1))) for one in predictors]


def test_every_score_is_from_a_held_out_fold() -> None:
    recorder = Recorder()
    cross_validate(recorder, LABELS, FOLDS, [1.0, 2.0])
    assert all(fold in left for left, fold in recorder.scored)
    # Six pairs for the choices, four singles for the scores.
    assert sorted(len(left) for left in recorder.fits) == [1] * 4 + [2] * 6


def test_the_setting_of_a_split_is_chosen_without_its_fold() -> None:
    """Only fold 3 would choose the other setting, and it must not influence its own choice."""
    labels = np.where(FOLDS == 3, 10.0, 0.0)
    found = cross_validate(Recorder(), labels, FOLDS, [0.0, 6.0])
    assert found.settings[3] == 0.0
    np.testing.assert_array_equal(found.scores[FOLDS == 3], 0.0)


def test_one_setting_needs_no_inner_folds() -> None:
    recorder = Recorder()
    found = cross_validate(recorder, LABELS, FOLDS, [5.0])
    assert [len(left) for left in recorder.fits] == [1] * 4
    assert (found.settings, found.final) == ((5.0,) * 4, 5.0)


def test_augmented_rows_train_and_clean_rows_are_scored() -> None:
    """Only the augmented rows carry the label, so only a fit on them can find the slope."""
    x = np.zeros((24, 1), dtype=np.float32)
    x[1::2, 0] = LABELS
    design = Design(x, np.repeat(np.arange(12), 2), np.tile([True, False], 12))
    fitter = InMemory(design, LABELS, FOLDS, model=MODELS["ridge"])
    fitted = fitter.fit({0}, [1e-6])[0]
    assert fitted.weights[0, 0] > 0.1
    assert fitter.scores([fitted], 0)[0].shape == (3, 1)
    assert np.ptp(fitter.scores([fitted], 0)[0]) == 0.0


@pytest.mark.parametrize(
    ("scores", "labels", "expected"),
    [([[1.0], [2.0]], [0.0, 4.0], 5.0), ([[0.9, 0.1], [0.8, 0.2]], [0.0, 1.0], 1.0)],
)
def test_losses(scores: list[list[float]], labels: list[float], expected: float) -> None:
    assert loss(np.array(scores), np.array(labels)) == expected
