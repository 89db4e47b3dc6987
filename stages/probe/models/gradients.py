"""Linear classifiers out of core: scikit-learn's objectives, minimised by L-BFGS with one pass per evaluation.

The objectives are convex, so the minimum is the one that scikit-learn finds in memory, up to its tolerance.
"""

from collections.abc import Callable, Collection, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit, logsumexp, softmax

from stages.probe.errors import ProbeError
from stages.probe.models.fitting import Design
from stages.probe.models.out_of_core import Passes, scale_of
from stages.probe.models.predictors import Array, Predictor
from stages.probe.models.registry import both_classes, unscaled

# (scores (n, M), classes (n,)) → the loss summed over rows, and its gradient by the scores (n, M).
Loss = Callable[[Array, NDArray[np.int64]], tuple[float, Array]]
_MAX_PASSES = 1000


def logistic_loss(scores: Array, classes: NDArray[np.int64]) -> tuple[float, Array]:
    """−log softmax of the true class. A single score per row is the logit of the second of two classes."""
    if scores.shape[1] == 1:
        sign = (2.0 * classes - 1.0)[:, None]
        return float(np.logaddexp(0.0, -sign * scores).sum()), -sign * expit(-sign * scores)
    rows = np.arange(len(scores))
    gradient = softmax(scores, axis=1)
    gradient[rows, classes] -= 1.0
    return float((logsumexp(scores, axis=1) - scores[rows, classes]).sum()), gradient


def squared_hinge_loss(scores: Array, classes: NDArray[np.int64]) -> tuple[float, Array]:
    """Σ max(0, 1 − ±score)², each class against the rest. A single score per row is the second class against the first."""
    columns = np.array([1]) if scores.shape[1] == 1 else np.arange(scores.shape[1])
    sign = np.where(classes[:, None] == columns, 1.0, -1.0)
    slack = np.maximum(0.0, 1.0 - sign * scores)
    return float(np.square(slack).sum()), -2.0 * sign * slack


class Gradients:
    """Logistic regression or a linear SVM: ½‖W‖² + C·Σ loss over standardised features.

    Parameters
    ----------
    design, labels, folds
        Features by row; class index and fold by song.
    classes
        Number of classes.
    margin
        True for the linear SVM: squared hinge loss, with a penalty on the offset as in liblinear. False for logistic
        regression, whose offset has no penalty.
    """

    def __init__(self, design: Design, labels: Array, folds: NDArray[np.int64], *, classes: int, margin: bool) -> None:
        self.passes = Passes(design, labels, folds)
        self.outputs = 1 if classes == 2 else classes
        self.margin = margin
        self.loss: Loss = squared_hinge_loss if margin else logistic_loss
        self.center = self.passes.mean()
        self.counts = np.bincount(self.passes.row_folds, minlength=self.passes.folds)
        self.sums, self.squares = (np.zeros((self.passes.folds, self.passes.features)) for _ in range(2))
        for block in self.passes:
            for fold in np.unique(block.fold):
                z = block.x[block.fold == fold] - self.center
                self.sums[fold] += z.sum(axis=0)
                self.squares[fold] += np.square(z).sum(axis=0)

    def fit(self, without: Collection[int], settings: Sequence[float]) -> list[Predictor]:
        """Fit on all folds but `without`, once per C. Each fit starts from the previous, more regularised result."""
        kept = [fold for fold in range(self.passes.folds) if fold not in without]
        rows = int(self.counts[kept].sum())
        shift = self.sums[kept].sum(axis=0) / rows
        mean = self.center + shift
        scale = scale_of(self.squares[kept].sum(axis=0) / rows - np.square(shift), mean, rows)
        parameters = np.zeros((self.passes.features + 1, self.outputs))
        found: list[Predictor] = []
        for strength in settings:
            parameters = self._minimise(parameters, strength, kept, mean, scale, rows)
            weights, offset = both_classes(parameters[:-1], parameters[-1], symmetric=self.margin)
            found.append(unscaled(mean, scale, weights, offset))
        return found

    def scores(self, predictors: Sequence[Predictor], fold: int) -> list[Array]:
        """(n, K) scores of the clean rows of one fold, by each predictor."""
        return self.passes.scores(predictors, fold)

    def _minimise(self, start: Array, strength: float, kept: list[int], mean: Array, scale: Array, rows: int) -> Array:
        def objective(flat: Array) -> tuple[float, Array]:
            parameters = flat.reshape(start.shape)
            penalised = parameters.copy()
            if not self.margin:
                penalised[-1] = 0.0
            value, gradient = self._summed_loss(parameters, kept, mean, scale)
            # Divided by C and the number of rows, so that one tolerance fits all.
            weight = 1.0 / (strength * rows)
            value = value / rows + 0.5 * weight * float(np.square(penalised).sum())
            return value, (gradient / rows + weight * penalised).ravel()

        options = {"maxiter": _MAX_PASSES, "maxfun": 2 * _MAX_PASSES, "gtol": 1e-6, "ftol": 1e-12}
        result = minimize(objective, start.ravel(), jac=True, method="L-BFGS-B", options=options)
        if not result.success:
            raise ProbeError(
                f"C = {strength:g} did not converge in {_MAX_PASSES} passes over the features; use a smaller setting"
            )
        return np.asarray(result.x.reshape(start.shape))

    def _summed_loss(self, parameters: Array, kept: list[int], mean: Array, scale: Array) -> tuple[float, Array]:
        value, gradient = 0.0, np.zeros_like(parameters)
        for block in self.passes:
            rows = np.isin(block.fold, kept)
            z = (block.x[rows] - mean) / scale
            here, by_score = self.loss(z @ parameters[:-1] + parameters[-1], block.y[rows].astype(np.int64))
            value += here
            gradient[:-1] += z.T @ by_score
            gradient[-1] += by_score.sum(axis=0)
        return value, gradient
