"""The same run with several seeds: how much its figures vary, and the metrics of the ensemble."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from stages.head.checkpoint.ensemble import list_members, load_heads, mean_scores
from stages.head.checkpoint.layout import CONFIG, METRICS_FILE, PREDICTIONS, RESUME
from stages.head.checkpoint.metrics_file import read_metrics
from stages.head.data.splits import Data
from stages.head.errors import HeadError
from stages.head.files import write_json
from stages.head.training.checks import describe_data
from stages.head.training.history import Listener
from stages.head.training.run_folder import RunFolder, write_predictions
from stages.head.training.runs import Job, refuse_failures, run_jobs
from stages.head.training.train import check_startable
from stages.metrics.agreement import METRICS, Metrics, score_metrics
from store.files.visible import visible


@dataclass(frozen=True, kw_only=True)
class SeedsReport:
    """Best validations of several seeds: their `mean` and sample `std`, and the `ensemble`'s own metrics."""

    seeds: tuple[int, ...]
    mean: Metrics
    std: Metrics
    ensemble: Metrics

    @property
    def table(self) -> str:
        """A table for the terminal: mean ± std, one line per dimension, then the ensemble's means."""
        lines = [f"{f'{len(self.seeds)} seeds':16}" + "".join(f"{metric:>17}" for metric in METRICS)]
        for name, row in self.mean.items():
            cells = (f"{row[metric]:.3f} ± {self.std[name][metric]:.3f}" for metric in METRICS)
            lines.append(f"{visible(name):16}" + "".join(f"{cell:>17}" for cell in cells))
        ensemble = "".join(f"{self.ensemble['mean'][metric]:9.3f}{'':8}" for metric in METRICS)
        return "\n".join([*lines, f"{'ensemble':16}{ensemble}".rstrip()])

    def to_json(self) -> dict[str, object]:
        """The content of metrics.json: the mean under a single run's keys, plus `std` and `ensemble`."""
        return {**self.mean, "std": self.std, "ensemble": self.ensemble}


def seed_jobs(job: Job, seeds: int) -> list[Job]:
    """One job per seed, counting up from the config's seed, each in its own folder `seed-<k>`.

    Shuffled ratings are the same for all heads, by the first seed: the ensemble is measured against the ratings that
    each head was trained on.
    """
    first = job.config.seed
    shuffle_seed = first if job.config.shuffle_labels else None
    return [
        replace(
            job,
            name=f"{job.name} seed {seed}",
            out=job.out / f"seed-{seed}",
            config=replace(job.config, seed=seed, shuffle_seed=shuffle_seed),
        )
        for seed in range(first, first + seeds)
    ]


def begin_seeds(job: Job, jobs: Sequence[Job]) -> None:
    """List the heads of the ensemble in `job.out`; it cannot be loaded until they are all complete."""
    RunFolder(job.out).clear()
    list_members(job.out, [each.out.name for each in jobs])


def finish_seeds(job: Job, jobs: Sequence[Job], data: Data) -> SeedsReport:
    """Combine complete runs: write the ensemble's metrics and predictions, and mean and std over its heads.

    Raises
    ------
    HeadError, StoreError
        A run is not complete, or cannot be scored.
    """
    each = [read_metrics(one.out / METRICS_FILE) for one in jobs]
    predicted = mean_scores(load_heads(job.out, device=job.config.device), data.store, data.val.songs)
    report = SeedsReport(
        seeds=tuple(one.config.seed for one in jobs),
        mean=_over(each, lambda values: float(np.mean(values))),
        std=_over(each, lambda values: float(np.std(values, ddof=1))),
        ensemble=score_metrics(data.val.ratings, predicted, dimensions=data.dimensions),
    )
    write_predictions(job.out / PREDICTIONS, data.val, predicted, dimensions=data.dimensions)
    write_json(job.out / METRICS_FILE, report.to_json())
    return report


def train_seeds(
    job: Job,
    *,
    seeds: int,
    resume: bool = False,
    listeners: Callable[[Job], Sequence[Listener]] = lambda job: (),
    say: Callable[[str], None] = lambda line: None,
) -> SeedsReport:
    """Train a head for each of two or more seeds, one after the other, into folders in `job.out`.

    Parameters
    ----------
    resume
        Keep complete seeds, and resume an interrupted one.
    say
        Called before the first seed with each sentence of `describe_data`.

    Raises
    ------
    HeadError, StoreError, SongsError
        As `train_head`; if a seed fails, the later ones are still trained.
    """
    data, jobs = job.open(), seed_jobs(job, seeds)
    if resume and any((job.out / name).is_file() for name in (CONFIG, RESUME)):
        raise HeadError(f"{job.out}: has the run of one seed, found --seeds {seeds}; train again without --resume")
    check_startable(data, job.config)
    for note in describe_data(data, job.config):
        say(note)
    for each in () if resume else jobs:
        RunFolder(each.out).clear()
    begin_seeds(job, jobs)
    refuse_failures(run_jobs(jobs, listeners=listeners))
    return finish_seeds(job, jobs, data)


def _over(each: Sequence[Metrics], figure: Callable[[list[float]], float]) -> Metrics:
    return {
        name: {metric: figure([metrics[name][metric] for metrics in each]) for metric in METRICS} for name in each[0]
    }
