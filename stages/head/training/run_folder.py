"""A training run's folder: the best head, every number of the run, and what a resume needs.

config.json model.safetensors      the best head so far
novelty.safetensors                what its training songs are like, for warnings about others
metrics.json predictions.csv       what it scored on the validation set, and each song
params.json versions.json receipt.json     what made it
ratings.csv                        the ratings that it learned from and was validated with
steps.csv evaluations.csv          curves
resume.pt                          only while the run is not over
run.json                           only once it is: time, waiting, counts
"""

import json
import pickle
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from stages.head.checkpoint.layout import (
    CONFIG,
    ENSEMBLE,
    METRICS_FILE,
    PARAMS,
    PREDICTIONS,
    RECEIPT,
    RESUME,
    RUN,
    VERSIONS,
    WEIGHTS,
)
from stages.head.checkpoint.novelty import NOVELTY
from stages.head.data.corpus import Corpus
from stages.head.data.ratings import RATINGS, Ratings, read_ratings, write_ratings
from stages.head.errors import HeadError
from stages.head.files import read_object, write_csv, write_json
from stages.head.training.history import EVALUATIONS, STEPS, EvaluationRow, StepRow, row_of, write_rows
from stages.head.training.trainer import RunState, Trainer
from store.files.json_text import brief
from store.files.regular import IrregularFileError, open_regular
from store.files.replacing import replacing

# These change how fast a run is, not what it computes: a resumed run may differ in them.
FREE_PARAMS = ("memory", "workers")
# Runs that were made before these could be chosen do not name them, or name them null; this is what they did.
IMPLIED_PARAMS = {"schedule": "constant", "plateau_patience": 400, "views_per_epoch": 0}
# Digests tell that something differs, not what: they are compared last, and with these words.
DIGESTS = {"data": "songs, their views and ratings", "labels": "ratings"}
# What reading anything else than what `save` wrote may fail with.
_NOT_SAVED_HERE = (
    *(OSError, RuntimeError, KeyError, ValueError, TypeError, AttributeError, IndexError, EOFError),
    pickle.UnpicklingError,
)
ANEW = "a resumed run must be the same run: set it back, or train anew without --resume"


class RunFolder:
    """Writes and reads one run's folder.

    Parameters
    ----------
    path
        Made where it does not exist, with the first file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def start(self, params: dict[str, Any], receipt: dict[str, Any], ratings: Ratings, device: torch.device) -> None:
        """Clear an older run and write down what this one is made of.

        Raises
        ------
        HeadError
            The folder cannot be written.
        """
        self.clear()
        write_json(self.path / PARAMS, params)
        write_json(self.path / RECEIPT, receipt)
        write_ratings(self.path / RATINGS, ratings)
        write_json(self.path / VERSIONS, _versions(device))

    def clear(self) -> None:
        """Remove what a run, or the runs of several seeds, said here; folders below stay. Raises as `start`."""
        # What says that something is complete goes first: a kill in between must not leave it behind.
        claims = (RUN, ENSEMBLE, RESUME, CONFIG)
        figures = (METRICS_FILE, PREDICTIONS, STEPS, EVALUATIONS)
        try:
            for name in (*claims, WEIGHTS, NOVELTY, *figures, PARAMS, VERSIONS, RECEIPT, RATINGS):
                (self.path / name).unlink(missing_ok=True)
        except OSError as error:
            raise HeadError(f"{self.path}: cannot be written: {error.strerror}") from error

    @property
    def is_complete(self) -> bool:
        """Whether a run was finished here."""
        return (self.path / RUN).is_file()

    @property
    def is_begun(self) -> bool:
        """Whether a run was finished here, or cut off after its first validation."""
        return self.is_complete or (self.path / RESUME).is_file()

    def difference(self, params: dict[str, Any], receipt: dict[str, Any], ratings: Ratings) -> str:
        """How the run that is here differs from one of these parameters, this store and these ratings.

        Empty if it does not, or if there is no run.
        """
        if (self.path / ENSEMBLE).is_file():
            return f"{self.path}: these are the heads of several seeds, now it is one"
        if not self.is_begun:
            return ""
        # A run that was made before ratings had digests of their own: the digest of its data covers them.
        implied = {**IMPLIED_PARAMS, "labels": params["labels"]}
        return (
            _difference(self.path / PARAMS, params, free=(*FREE_PARAMS, *DIGESTS), implied=implied)
            or _other_ratings(self.path / RATINGS, ratings)
            or _difference(self.path / PARAMS, params, free=FREE_PARAMS, implied=implied)
            or _difference(self.path / RECEIPT, receipt)
        )

    def can_resume(self, params: dict[str, Any], receipt: dict[str, Any], ratings: Ratings) -> bool:
        """Whether a run is here, cut off or complete, that these parameters, this store and these ratings made.

        Raises
        ------
        HeadError
            There is one, of other parameters, another store or other ratings; the message names the first difference.
        """
        difference = self.difference(params, receipt, ratings)
        if difference:
            raise HeadError(f"{difference}; {ANEW}")
        return self.is_begun

    def save(self, trainer: Trainer) -> None:
        """Write the curves, and what a resume needs."""
        progress = trainer.progress
        write_rows(self.path / STEPS, progress.steps, StepRow)
        write_rows(self.path / EVALUATIONS, progress.evaluations, EvaluationRow)
        state = {
            "model": trainer.model.state_dict(),
            "optimizer": trainer.optimizer.state_dict(),
            "progress": json.dumps(asdict(progress)),
        }
        if trainer.schedule is not None:
            state["schedule"] = trainer.schedule.state_dict()
        # RuntimeError is torch's report that a file cannot be written.
        with replacing(self.path / RESUME, error=HeadError, causes=(OSError, RuntimeError)) as partial:
            torch.save(state, partial)

    def restore(self, trainer: Trainer) -> None:
        """Bring a trainer to where the run was cut off.

        Raises
        ------
        HeadError
            The file is not what `save` wrote.
        """
        try:
            with open_regular(self.path / RESUME) as file:
                state = torch.load(file, map_location=trainer.device, weights_only=True)
            trainer.model.load_state_dict(state["model"])
            trainer.optimizer.load_state_dict(state["optimizer"])
            if trainer.schedule is not None:
                trainer.schedule.load_state_dict(state["schedule"])
            # Not by `parse_json`: the best of a run that was not validated yet is -Infinity.
            values = json.loads(state["progress"])
            values["steps"] = [row_of(StepRow, row) for row in values["steps"]]
            values["evaluations"] = [row_of(EvaluationRow, row) for row in values["evaluations"]]
            trainer.progress = row_of(RunState, values)
        except (*_NOT_SAVED_HERE, IrregularFileError) as error:
            raise HeadError(f"{self.path / RESUME}: cannot be resumed: {error}; train anew without --resume") from error

    def finish(self, summary: dict[str, Any]) -> None:
        """Mark the run as over."""
        write_json(self.path / RUN, summary)
        (self.path / RESUME).unlink(missing_ok=True)


def write_predictions(
    path: Path, corpus: Corpus, predicted: NDArray[np.floating], *, dimensions: Sequence[str]
) -> None:
    """Write one row per song: id, system, then the rating and the predicted score of each dimension, from (N, D)."""
    columns = [f"{kind}_{name}" for name in dimensions for kind in ("rated", "predicted")]
    rows = []
    for song, system, ratings, scores in zip(corpus.songs, corpus.systems, corpus.ratings, predicted, strict=True):
        pairs = [f"{value:.6f}" for pair in zip(ratings, scores, strict=True) for value in pair]
        rows.append([song, system, *pairs])
    write_csv(path, ["song_id", "system", *columns], rows)


def _versions(device: torch.device) -> dict[str, str]:
    packages = ("hear-music", "torch", "numpy", "scipy", "zarr", "safetensors")
    place = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or platform.machine()
    return {
        "python": platform.python_version(),
        **{name: version(name) for name in packages},
        "device": f"{device.type}: {place}",
        "threads": str(torch.get_num_threads()),
    }


def _other_ratings(path: Path, ratings: Ratings) -> str:
    if not path.is_file():  # a run that was made before they were kept
        return ""
    try:
        difference = read_ratings(path).difference(ratings)
    except HeadError as error:
        return str(error)
    return f"{path}: {difference}" if difference else ""


def _difference(
    path: Path, values: dict[str, Any], *, free: Sequence[str] = (), implied: Mapping[str, Any] | None = None
) -> str:
    """The first value that differs from the file's; what the file does not name, or names null, is as `implied`."""
    try:
        before = read_object(path)
    except HeadError as error:
        return str(error)
    before |= {name: value for name, value in (implied or {}).items() if before.get(name) is None}
    now = json.loads(json.dumps(values))
    for name in sorted({*before, *now} - set(free)):
        if before.get(name) != now.get(name):
            what = f"{name} (digest of {DIGESTS[name]})" if name in DIGESTS else name
            return f"{path}: {what} was {brief(before.get(name))}, now it is {brief(now.get(name))}"
    return ""
