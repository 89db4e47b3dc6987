"""Table 2 of the paper (arXiv 2511.18869): the effect of HEAR's three parts, one run per combination.

MMR   multi-source multi-scale features: HEAR's head on all streams; without it, SongEval's own head on muq/track
HAS   hierarchical augmentation: augmented views and C-Mixup; without it, only the songs themselves
L     the hybrid loss: SmoothL1 and β · ListMLE; without it, SmoothL1 alone
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from stages.head.checkpoint.score import qualified
from stages.head.config import TrainConfig
from stages.head.data.splits import SONGEVAL_LAYER, Data
from stages.head.training.runs import Job
from stages.metrics.agreement import METRICS


class Setting(NamedTuple):
    """The parts that a row has."""

    mmr: bool
    has: bool
    ranking: bool

    @property
    def name(self) -> str:
        """The row's folder name: its parts, or `baseline`."""
        parts = [part for part, present in zip(("mmr", "has", "l"), self, strict=True) if present]
        return "-".join(parts) or "baseline"


@dataclass(frozen=True)
class PaperRow:
    """A row of Table 2: LCC, SRCC, KTAU and TTA on the validation songs, for each track."""

    setting: Setting
    track_1: tuple[float, float, float, float]
    track_2: tuple[float, float, float, float]

    def metrics(self, track: int) -> Mapping[str, float]:
        """The paper's figures by metric."""
        return dict(zip(METRICS, self.track_1 if track == 1 else self.track_2, strict=True))


TABLE_2 = (
    PaperRow(Setting(False, False, False), (0.913, 0.900, 0.745, 0.818), (0.908, 0.897, 0.736, 0.826)),
    PaperRow(Setting(True, False, False), (0.914, 0.907, 0.746, 0.845), (0.909, 0.899, 0.733, 0.840)),
    PaperRow(Setting(False, True, False), (0.914, 0.900, 0.743, 0.841), (0.906, 0.896, 0.737, 0.832)),
    PaperRow(Setting(False, False, True), (0.911, 0.904, 0.748, 0.841), (0.902, 0.892, 0.728, 0.838)),
    PaperRow(Setting(True, True, False), (0.914, 0.902, 0.742, 0.853), (0.909, 0.897, 0.733, 0.843)),
    PaperRow(Setting(True, False, True), (0.917, 0.907, 0.741, 0.865), (0.910, 0.899, 0.737, 0.846)),
    PaperRow(Setting(False, True, True), (0.916, 0.904, 0.745, 0.859), (0.902, 0.896, 0.739, 0.840)),
    PaperRow(Setting(True, True, True), (0.920, 0.910, 0.752, 0.871), (0.912, 0.900, 0.737, 0.853)),
)


def row_job(job: Job, setting: Setting) -> Job:
    """The job of one row, in its own folder in `job.out`; parts that the row lacks are switched off in its config."""
    return replace(job, name=setting.name, out=job.out / setting.name, config=_row_config(job.config, setting))


def _row_config(config: TrainConfig, setting: Setting) -> TrainConfig:
    changes: dict[str, Any] = {"architecture": "hear"} if setting.mmr else {"architecture": "songeval", "streams": ()}
    if not setting.has:
        changes |= {"augmented": 0, "mix": "none"}
    if not setting.ranking:
        changes["beta"] = 0.0
    return replace(config, **changes)


def describe_rows(job: Job, data: Mapping[Setting, Data]) -> list[str]:
    """Describe the parts in these runs, one sentence each: notes of the table.

    Parameters
    ----------
    job
        The job of the whole ablation.
    data
        The data of each row.
    """
    full, without = data[Setting(True, True, True)], data[Setting(False, False, False)]
    count = max(map(len, full.train.views)) - 1
    views = f"{count} augmented view{'' if count == 1 else 's'} per song"
    augmented = f"{views} and C-Mixup" if count else "C-Mixup alone, as there are no augmented views"
    layers = without.store.spec.layers
    known = SONGEVAL_LAYER in layers or not layers
    instead = "" if known else f", as the store lacks layer {SONGEVAL_LAYER} of the published baseline"
    return [
        f"Track {job.track}: {len(full.train.songs)} training songs, {len(full.val.songs)} validation songs.",
        f"MMR: HEAR's head on {', '.join(qualified(full.streams, layers))}; "
        f"without: SongEval's head on {', '.join(qualified(without.streams, layers))}{instead}.",
        f"HAS: {augmented if job.config.mix != 'none' else f'{views}, no C-Mixup'}. "
        f"L: SmoothL1 + {job.config.track_beta(job.track):g} · ListMLE.",
    ]
