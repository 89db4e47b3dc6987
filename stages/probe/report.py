"""Results of a probe, as values, as JSON and as text."""

import html
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.probe.config import ProbeConfig
from stages.probe.data.sample import Sample
from stages.probe.models.predictors import Array
from stages.probe.models.registry import MODELS, Task
from stages.probe.scores import Interval, ProbeScores, confusion
from store.files.visible import visible

_NAMED = 5
# With fewer songs, a percentile bootstrap's 95 % interval covers less (93 % at 8 songs and accuracy 0.7).
_FEW = 20


@dataclass(frozen=True)
class SweepRow:
    """One set of streams: name, streams, headline metric and its difference to the baseline."""

    name: str
    streams: tuple[str, ...]
    value: Interval
    gain: Interval


@dataclass(frozen=True)
class ProbeReport:
    """The results of a cross-validated probe.

    Attributes
    ----------
    config, task, streams
        The settings, and the task and streams chosen by them.
    chosen, chosen_by_fold
        The model's setting in the saved probe, and in each outer split.
    sample
        The songs with labels, groups and folds, and the songs left out.
    predicted
        (songs,) out-of-fold predictions: numbers, or indices of the sample's classes.
    scores
        Metrics of these predictions.
    rows, features
        Counts. Rows are views: more than songs if augmented views are used.
    out_of_core
        Whether the features were read in passes.
    sweep
        Results by set of streams, the best first; empty without a sweep.

    Examples
    --------
    >>> import hear_music as hear
    >>> config = hear.ProbeConfig(target="Clarity", model="ridge", cv=4)
    >>> report = hear.probe("embeddings.zarr", config, manifest="manifest.csv")
    >>> report.task, report.scores.headline
    ('regression', 'R2')
    >>> report.predictions()[0]
    {'song_id': 'song 0', 'truth': ..., 'predicted': ..., 'fold': ...}
    """

    config: ProbeConfig
    task: Task
    streams: tuple[str, ...]
    chosen: float
    chosen_by_fold: tuple[float, ...]
    sample: Sample
    predicted: Array
    scores: ProbeScores
    rows: int
    features: int
    out_of_core: bool
    sweep: tuple[SweepRow, ...] = ()

    @property
    def setting(self) -> str:
        """The name of the model's hyperparameter."""
        return MODELS[self.config.model].setting

    def confusion(self) -> NDArray[np.int64]:
        """(classes, classes) counts: rows are true classes, columns predicted classes."""
        return confusion(self.sample.labels, self.predicted, classes=len(self.sample.classes))

    def predictions(self) -> list[dict[str, str | float | int]]:
        """One object per song: song_id, truth, predicted, fold."""
        sample = self.sample
        labels, predicted = self._readable(sample.labels), self._readable(self.predicted)
        return [
            {"song_id": song, "truth": label, "predicted": prediction, "fold": fold}
            for song, label, prediction, fold in zip(
                sample.songs, labels, predicted, sample.folds.tolist(), strict=True
            )
        ]

    def to_json(self) -> dict[str, Any]:
        """All results, including the prediction of each song."""
        values: dict[str, Any] = {
            **asdict(self.config),
            "task": self.task,
            "streams": list(self.streams),
            "setting": {"name": self.setting, "value": self.chosen, "by_fold": list(self.chosen_by_fold)},
            "songs": len(self.sample.songs),
            "groups": self.sample.group_count,
            "rows": self.rows,
            "features": self.features,
            "out_of_core": self.out_of_core,
            **asdict(self.scores),
            "left_out": {reason: list(songs) for reason, songs in self.sample.left_out.items()},
            "sweep": [asdict(row) for row in self.sweep],
            "predictions": self.predictions(),
        }
        if self.sample.classes:
            values |= {"classes": list(self.sample.classes), "confusion": self.confusion().tolist()}
        return values

    def _readable(self, values: Array) -> Sequence[str | float]:
        if self.sample.classes:
            return [self.sample.classes[int(value)] for value in values]
        return [float(value) for value in values]

    def __repr__(self) -> str:
        scores, config = self.scores, self.config
        figure = f"{scores.headline} {_spell(scores.probe[scores.headline])}"
        return visible(f"<ProbeReport of {config.target!r} by {config.model}: {figure}>")

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(self.to_text())}</pre>"

    def to_text(self) -> str:
        """A report for a terminal."""
        lines = [*self._heading(), "", *self._metrics(), "", *self._verdict(), *self._sweep(), *self._left_out()]
        return "\n".join(map(visible, lines))

    def _heading(self) -> list[str]:
        config, songs = self.config, len(self.sample.songs)
        over = f"{self.sample.group_count} groups of {config.group!r}" if config.group else f"{songs} songs"
        views = f", {self.rows} views train" if self.rows > songs else ""
        passes = ", read out of core" if self.out_of_core else ""
        model = f"{config.model} ({self.setting} {self.chosen:g})"
        return [
            f"{config.target}: {self.task} by {model}, {songs} songs{views}; {config.cv} folds over {over}",
            f"{', '.join(self.streams)}: {config.pooling}, {self.features} features{passes}",
        ]

    def _metrics(self) -> list[str]:
        rows = [(name, _spell(value), _spell(self.scores.baseline[name])) for name, value in self.scores.probe.items()]
        return table(("metric", "probe [95 %]", "baseline [95 %]"), rows)

    def _verdict(self) -> list[str]:
        gain, naive = self.scores.gain, "most frequent class" if self.sample.classes else "mean"
        relation = "above" if gain.low > 0 else "below" if gain.high < 0 else "not distinguishable from"
        verdict = f"{self.scores.headline} is {relation} the baseline (always the {naive}): {_spell(gain, sign='+')}"
        few = self.sample.group_count < _FEW
        what = f"groups of {self.config.group!r}" if self.config.group else "songs"
        return [verdict, *([f"only {self.sample.group_count} {what}: the intervals are rough"] if few else [])]

    def _sweep(self) -> list[str]:
        if not self.sweep:
            return []
        rows = [(row.name, str(len(row.streams)), _spell(row.value), _spell(row.gain, sign="+")) for row in self.sweep]
        return ["", *table(("streams", "count", f"{self.scores.headline} [95 %]", "above baseline [95 %]"), rows)]

    def _left_out(self) -> list[str]:
        lines = [f"left out, {reason}: {name_songs(songs)}" for reason, songs in self.sample.left_out.items()]
        return ["", *lines] if lines else []


def name_songs(songs: Sequence[str]) -> str:
    """Number and names of songs; only the first few are named."""
    rest = len(songs) - _NAMED
    return f"{len(songs)} ({', '.join(songs[:_NAMED])}{f' and {rest} more' if rest > 0 else ''})"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of left-aligned columns."""
    widths = [max(len(row[place]) for row in (header, *rows)) for place in range(len(header))]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in (header, *rows))
    return [line.rstrip() for line in lines]


def _spell(interval: Interval, *, sign: str = "") -> str:
    # + 0.0 turns minus zero into zero.
    value, low, high = (round(number, 3) + 0.0 for number in (interval.value, interval.low, interval.high))
    return f"{value:{sign}.3f} [{low:{sign}.3f}, {high:{sign}.3f}]"
