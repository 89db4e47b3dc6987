"""The report of a training run, as printed by the command and as saved in run.json."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stages.head.checkpoint.layout import METRICS_FILE, RUN
from stages.head.checkpoint.metrics_file import is_number, read_metrics
from stages.head.errors import HeadError
from stages.head.files import read_object
from stages.head.training.history import EVALUATIONS, EvaluationRow, read_rows
from stages.metrics.agreement import METRICS, Metrics, total
from store.files.html_table import html_table
from store.files.json_text import brief
from store.files.visible import visible

# Entries of run.json that name songs; they are not shared with the head.
SONG_NAMES = ("missing", "unrated", "notes")


@dataclass(frozen=True, kw_only=True)
class TrainReport:
    """The results of a training run.

    Attributes
    ----------
    folder
        The run's folder, with the best head.
    metrics, best
        Metrics of the best validation by dimension, and the validation itself.
    steps, validations, songs, records
        Counts of the run, and of what it trained on.
    missing, unrated
        Songs left out: the store lacks them, or they have no rating.
    notes
        What a reader of the metrics should know about the songs, one sentence each.
    seconds, waiting
        Duration, and the fraction of it spent waiting for data.
    trained
        False if the run was complete before, and was only read.

    Examples
    --------
    >>> import hear_music as hear
    >>> config = hear.TrainConfig(size="small", epochs=2, device="cpu")
    >>> report = hear.train("embeddings.zarr", "manifest.csv", track=1, out="models/one", config=config)
    >>> print(report.line)
    LCC ... SRCC ... KTAU ... TTA ... at epoch ..., step ... of ...; 6 songs, 6 records, ... s
    >>> report.metrics["Musicality"]["SRCC"] <= 1
    True
    """

    folder: Path
    metrics: Metrics
    best: EvaluationRow
    steps: int
    songs: int
    records: int
    missing: tuple[str, ...]
    seconds: float
    waiting: float
    validations: int
    unrated: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    trained: bool = True

    @property
    def line(self) -> str:
        """One line for the terminal."""
        means = " ".join(f"{name} {self.metrics['mean'][name]:.3f}" for name in METRICS)
        missing = f", {len(self.missing)} songs missing" if self.missing else ""
        count = len(self.unrated)
        unrated = f", {count} song{'' if count == 1 else 's'} without a rating left out" if count else ""
        return (
            f"{'' if self.trained else 'already complete: '}"
            f"{means} at epoch {self.best.epoch}, step {self.best.step} of {self.steps}; "
            f"{self.songs} songs, {self.records} records{missing}{unrated}, {self.seconds:.0f} s"
        )

    def __repr__(self) -> str:
        return visible(f"<TrainReport of {str(self.folder)!r}: {self.line}>")

    def _repr_html_(self) -> str:
        rows = ([name, *(f"{row[metric]:.3f}" for metric in METRICS)] for name, row in self.metrics.items())
        return html_table(rows, header=["", *METRICS], title=f"{self.folder}: {self.line}")

    def to_json(self) -> dict[str, Any]:
        """The content of run.json; the metrics have their own file."""
        return {
            "best_step": self.best.step,
            "best_epoch": self.best.epoch,
            "steps": self.steps,
            "songs": self.songs,
            "records": self.records,
            "missing": list(self.missing),
            "unrated": list(self.unrated),
            "notes": list(self.notes),
            "seconds": round(self.seconds, 3),
            "waiting": round(self.waiting, 4),
        }


def read_report(folder: Path) -> TrainReport:
    """Read the report of a complete run from its folder.

    Raises
    ------
    HeadError
        run.json or metrics.json was not written by a run.
    """
    try:
        metrics, run = read_metrics(folder / METRICS_FILE), read_run(folder / RUN)
        means = {name.lower(): metrics["mean"][name] for name in METRICS}
        return TrainReport(
            folder=folder,
            metrics=metrics,
            best=EvaluationRow(
                step=run["best_step"], epoch=run["best_epoch"], **means, total=total(metrics), best=True
            ),
            **{name: run[name] for name in ("steps", "songs", "records", "seconds", "waiting")},
            validations=len(read_rows(folder / EVALUATIONS)),
            # Heads from a hub and older runs have none of these.
            missing=tuple(run.get("missing", ())),
            unrated=tuple(run.get("unrated", ())),
            notes=tuple(run.get("notes", ())),
            trained=False,
        )
    except HeadError as error:
        raise HeadError(f"{folder}: cannot read the run's results: {error}; train again without --resume") from error


def read_run(path: Path) -> dict[str, Any]:
    """Read run.json.

    Raises
    ------
    HeadError
        It cannot be read, or was not written by a run.
    """
    run = read_object(path)
    for name in ("best_step", "best_epoch", "steps", "songs", "records"):
        if type(run.get(name)) is not int:
            raise HeadError(f"{path}: {name} must be a whole number, found {brief(run.get(name))}")
    for name in ("seconds", "waiting"):
        if not is_number(run.get(name)):
            raise HeadError(f"{path}: {name} must be a number, found {brief(run.get(name))}")
    for name in SONG_NAMES:
        if not isinstance(run.get(name, []), list) or not all(isinstance(text, str) for text in run.get(name, [])):
            raise HeadError(f"{path}: {name} must be a list of texts, found {brief(run[name])}")
    return run
