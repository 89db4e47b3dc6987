"""Trains heads: one after the other in this process, or several at a time in Dask processes."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.show.bars import Bar
from pipeline.training_progress import TrainingBar, epochs_done, total_epochs
from stages.common.device import choose_device
from stages.common.machine import count_cores, memory_limit
from stages.evaluate.ablation import TABLE_2
from stages.head.config import TrainConfig
from stages.head.data.splits import Data
from stages.head.training.footprint import run_gigabytes
from stages.head.training.runs import Job, JobResult, run_jobs
from stages.songs import read_manifest
from store.errors import HearError

if TYPE_CHECKING:
    from distributed import Client, Future

# Fraction of the free memory to use: estimates may be too low.
MEMORY_FRACTION = 0.8
# Seconds between two updates of the bar.
UPDATE_EVERY = 2.0


def plan_job(
    name: str,
    store: str,
    manifest: Path,
    receipt: Path | None,
    *,
    track: int,
    out: Path,
    params: Mapping[str, Any],
    replace: bool = False,
) -> Job:
    """Describe a training run from a command's options: files, and the values of the section `head`."""
    return Job(
        name=name,
        store_root=store,
        manifest=read_manifest(manifest, check_files=False),
        track=track,
        out=out,
        config=TrainConfig(**params),
        receipt=receipt,
        replace=replace,
    )


@dataclass(frozen=True, kw_only=True)
class Parallelism:
    """How many runs at a time, how many CPU threads each has, whether each has its own GPU, and the reason."""

    parallel: int
    threads: int
    one_gpu_each: bool
    reason: str

    @property
    def line(self) -> str:
        """One line of text."""
        threads = f"{self.threads} CPU thread{'s' if self.threads > 1 else ''}"
        return f"{self.parallel} at a time, {threads} each ({self.reason})"


def choose_parallelism(
    jobs: Sequence[tuple[Job, Data]], *, parallel: int | None = None, threads: int | None = None
) -> Parallelism:
    """Decide how many jobs run at a time: as many as fit in memory, and as there are cores (or GPUs) for.

    The number of threads changes the last bits of results on a CPU. So it depends on the machine alone: its cores,
    divided by the rows of a table, however many jobs are left or run at a time.

    Parameters
    ----------
    parallel, threads
        Used unchanged, if given.
    """
    import psutil
    import torch

    cores = count_cores()
    threads = threads or max(1, cores // len(TABLE_2))
    free = min(psutil.virtual_memory().available, memory_limit()) / 1e9
    needs = sorted((run_gigabytes(data, job.config) for job, data in jobs), reverse=True)
    fitting = sum(sum(needs[: count + 1]) <= MEMORY_FRACTION * free for count in range(len(needs)))
    device = choose_device(jobs[0][0].config.device) if jobs else torch.device("cpu")
    gpus = torch.cuda.device_count() if device.type == "cuda" and device.index is None else 1
    served = gpus if device.type == "cuda" else max(1, cores // threads)
    chosen = parallel or max(1, min(fitting, served, len(needs)))
    places = f"{gpus} GPU{'s' if gpus > 1 else ''}" if device.type == "cuda" else f"{cores} cores"
    return Parallelism(
        parallel=chosen,
        threads=threads,
        one_gpu_each=1 < chosen <= gpus,
        reason=f"at most about {max(needs, default=0):.1f} GB per run, {free:.1f} GB free, {places}",
    )


def run_all(jobs: Sequence[Job], parallelism: Parallelism, *, say: Callable[[str], None]) -> list[JobResult]:
    """Run jobs; if one fails, the others still run.

    Raises
    ------
    ClusterError
        The processes cannot be started.
    KeyboardInterrupt
        Current runs were stopped; each resumes from its last validation when it runs again.
    """
    import dask

    from pipeline.cluster import dask_client

    if parallelism.parallel == 1 or len(jobs) < 2:
        return run_jobs(jobs, listeners=lambda job: (TrainingBar(job.name),), report=lambda end: say(_line(end)))
    workers, device = min(parallelism.parallel, len(jobs)), "cuda" if parallelism.one_gpu_each else "cpu"
    # We report failed runs, and Ctrl-C ends runs on purpose: Dask need not warn of either, nor of results that it still
    # has when its workers close.
    quiet = dask.config.set({"distributed.nanny.pre-spawn-environ.DASK_LOGGING__DISTRIBUTED": "critical"})
    for name in ("distributed.nanny", "distributed.scheduler"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    with (
        quiet,
        dask_client(workers=workers, scheduler="", device=device) as client,
        Bar("epochs", total_epochs(jobs)) as bar,
    ):
        return _run_on(client, jobs, bar, say=bar.say)


def _run_on(client: "Client", jobs: Sequence[Job], bar: Bar, *, say: Callable[[str], None]) -> list[JobResult]:
    from distributed import wait

    # The longest runs come last in the table, and must not start last.
    futures = {client.submit(Job.run, job, pure=False): job for job in reversed(jobs)}
    waiting, ends = set(futures), []
    bar.update(done=epochs_done(jobs))
    while waiting:
        try:
            done = wait(waiting, timeout=UPDATE_EVERY, return_when="FIRST_COMPLETED").done
        except TimeoutError:
            done = set()
        for future in done:
            ends.append(_ended(future, futures[future]))
            say(_line(ends[-1]))
        waiting -= done
        bar.update(done=epochs_done(jobs))
    return ends


def _ended(future: "Future[bool]", job: Job) -> JobResult:
    from distributed import KilledWorker

    try:
        return JobResult(job=job, trained=future.result())
    except KilledWorker:
        why = "its processes died several times, perhaps out of memory; run the command again with a lower --parallel"
        return JobResult(job=job, error=why)
    except HearError as error:
        return JobResult(job=job, error=str(error))


def _line(ended: JobResult) -> str:
    return f"{ended.job.name}: {ended.error or ('done' if ended.trained else 'already complete')}"
