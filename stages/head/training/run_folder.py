"""A training run's folder: the best head, all figures of the run, and the state to resume from.

config.json model.safetensors      the best head so far
novelty.safetensors                a description of its training songs, for warnings about unlike songs
metrics.json predictions.csv       its metrics on the validation songs, and the scores of each
params.json versions.json receipt.json     parameters, software and store
ratings.csv                        the ratings that it was trained and validated on
steps.csv evaluations.csv          curves
resume.pt                          only until the run is complete
run.json                           only once it is complete: time, waiting, counts
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
from store.files.replacing import replacing, write_errors

# These change the speed of a run, not its results: a resumed run may differ in them.
FREE_PARAMS = ("memory", "workers")
# The number of training records that are held on the device, if that changes results. Null: as many as fit.
RESIDENT_RECORDS = "resident_records"
# Runs from before these options existed do not name them, or name them null; these are the values that they used.
IMPLIED_PARAMS = {"schedule": "constant", "plateau_patience": 400, "views_per_epoch": 0, "resident": "stored"}
# Digests show that something differs, but not which value. So they are compared last, under these names.
DIGESTS = {"data": "songs, their views and ratings", "labels": "ratings"}
# Errors from reading a file that `save` did not write.
_NOT_SAVED_HERE = (
    *(OSError, RuntimeError, KeyError, ValueError, TypeError, AttributeError, IndexError, EOFError),
    pickle.UnpicklingError,
)
CANNOT_RESUME = "cannot resume with changed settings; restore them, or train again without --resume"


class RunFolder:
    """Writes and reads one run's folder.

    Parameters
    ----------
    path
        Created with the first file if it does not exist.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def start(self, params: dict[str, Any], receipt: dict[str, Any], ratings: Ratings, device: torch.device) -> None:
        """Remove an older run, and write the parameters, receipt, ratings and versions of this one.

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
        """Remove the files of a run, or of an ensemble of seeds; folders below stay. Raises as `start`."""
        # Files that mark something as complete go first: if the process is killed here, they must not remain.
        markers = (RUN, ENSEMBLE, RESUME, CONFIG)
        figures = (METRICS_FILE, PREDICTIONS, STEPS, EVALUATIONS)
        with write_errors(self.path, HeadError):
            for name in (*markers, WEIGHTS, NOVELTY, *figures, PARAMS, VERSIONS, RECEIPT, RATINGS):
                (self.path / name).unlink(missing_ok=True)

    @property
    def is_complete(self) -> bool:
        """Whether the folder has a finished run."""
        return (self.path / RUN).is_file()

    @property
    def is_begun(self) -> bool:
        """Whether the folder has a finished run, or one that was interrupted after its first validation."""
        return self.is_complete or (self.path / RESUME).is_file()

    def difference(self, params: dict[str, Any], receipt: dict[str, Any], ratings: Ratings) -> str:
        """Describe how the folder's run differs from one with these parameters, this store and these ratings.

        The text is empty if it does not, or if there is no run.
        """
        if (self.path / ENSEMBLE).is_file():
            return f"{self.path}: has heads of several seeds, expected one run"
        if not self.is_begun:
            return ""
        # In older runs, ratings have no digest of their own: the digest of the data covers them.
        implied = {**IMPLIED_PARAMS, "labels": params["labels"]}
        # The memory that is free now may differ from that at the start: the run keeps the records of its start.
        free = (*FREE_PARAMS, *([RESIDENT_RECORDS] if params.get(RESIDENT_RECORDS) is None else []))
        return (
            _difference(self.path / PARAMS, params, free=(*free, *DIGESTS), implied=implied)
            or _ratings_difference(self.path / RATINGS, ratings)
            or _difference(self.path / PARAMS, params, free=free, implied=implied)
            or _difference(self.path / RECEIPT, receipt)
        )

    def can_resume(self, params: dict[str, Any], receipt: dict[str, Any], ratings: Ratings) -> bool:
        """Whether the folder has an interrupted or complete run with these parameters, this store and these ratings.

        Raises
        ------
        HeadError
            Its run has other parameters, another store or other ratings; the message names the first difference.
        """
        difference = self.difference(params, receipt, ratings)
        if difference:
            raise HeadError(f"{difference}; {CANNOT_RESUME}")
        return self.is_begun

    def resident_records(self) -> int:
        """The number of held training records with which the folder's run began.

        Raises
        ------
        HeadError
            params.json was not written by a run.
        """
        found = read_object(self.path / PARAMS).get(RESIDENT_RECORDS)
        if type(found) is not int or found < 0:
            raise HeadError(
                f"{self.path / PARAMS}: {RESIDENT_RECORDS} must be a whole number, found {brief(found)}; "
                "train again without --resume"
            )
        return found

    def save(self, trainer: Trainer) -> None:
        """Write the curves, and the state to resume from."""
        run = trainer.state
        write_rows(self.path / STEPS, run.steps, StepRow)
        write_rows(self.path / EVALUATIONS, run.evaluations, EvaluationRow)
        state = {
            "model": trainer.model.state_dict(),
            "optimizer": trainer.optimizer.state_dict(),
            "progress": json.dumps(asdict(run)),
        }
        if trainer.schedule is not None:
            state["schedule"] = trainer.schedule.state_dict()
        # RuntimeError is torch's report that a file cannot be written.
        with replacing(self.path / RESUME, error=HeadError, causes=(OSError, RuntimeError)) as partial:
            torch.save(state, partial)

    def restore(self, trainer: Trainer) -> None:
        """Restore a trainer to the last saved state.

        Raises
        ------
        HeadError
            The file cannot be read, or was not written by `save`.
        """
        try:
            with open_regular(self.path / RESUME) as file:
                state = torch.load(file, map_location=trainer.device, weights_only=True)
            trainer.model.load_state_dict(state["model"])
            trainer.optimizer.load_state_dict(state["optimizer"])
            if trainer.schedule is not None:
                trainer.schedule.load_state_dict(state["schedule"])
            # Not `parse_json`: before the first validation, the best total is -Infinity.
            values = json.loads(state["progress"])
            values["steps"] = [row_of(StepRow, row) for row in values["steps"]]
            values["evaluations"] = [row_of(EvaluationRow, row) for row in values["evaluations"]]
            trainer.state = row_of(RunState, values)
        except (*_NOT_SAVED_HERE, IrregularFileError) as error:
            raise HeadError(
                f"{self.path / RESUME}: cannot be resumed: {error}; train again without --resume"
            ) from error

    def finish(self, summary: dict[str, Any]) -> None:
        """Mark the run as complete."""
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


def _ratings_difference(path: Path, ratings: Ratings) -> str:
    if not path.is_file():  # runs from before ratings were saved
        return ""
    try:
        difference = read_ratings(path).difference(ratings)
    except HeadError as error:
        return str(error)
    return f"{path}: {difference}" if difference else ""


def _difference(
    path: Path, values: dict[str, Any], *, free: Sequence[str] = (), implied: Mapping[str, Any] | None = None
) -> str:
    """Describe the first value that differs from the file's; missing or null values in the file are as `implied`."""
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
