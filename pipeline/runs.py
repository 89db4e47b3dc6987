"""Where heads are trained: in this process, one after the other, or several at a time in processes of Dask's."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline.show.training_bars import RunsBar, TrainingBar
from stages.common.machine import count_cores, memory_limit
from stages.evaluate.ablation import TABLE_2
from stages.head.data.splits import Data
from stages.head.device import pick_device
from stages.head.training.footprint import run_gigabytes
from stages.head.training.runs import Ended, Job, run_jobs
from store.errors import HearError

if TYPE_CHECKING:
    from distributed import Client, Future

# Of the free memory: the rest is for estimates that were too low.
SHARE_OF_MEMORY = 0.8
# Seconds between two looks at how far the runs are.
LOOK_EVERY = 2.0


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
    """Describe a training run as the commands are given it: files, and the values of the section `head`."""
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
    """How many runs at a time, `parallel`, with how many CPU threads each, and on what grounds."""

    parallel: int
    threads: int
    spread: bool
    grounds: str

    @property
    def line(self) -> str:
        """For people."""
        threads = f"{self.threads} CPU thread{'s' if self.threads > 1 else ''}"
        return f"{self.parallel} at a time, {threads} each ({self.grounds})"


def choose_parallelism(
    jobs: Sequence[tuple[Job, Data]], *, parallel: int | None = None, threads: int | None = None
) -> Parallelism:
    """Decide how many jobs run at a time: as many as memory holds, and cores (or GPUs, one run each) serve.

    The number of threads changes the last bits of results on a CPU, so it depends on the machine alone: its cores,
    shared out over the rows of a table, whatever is left to do and however many run at a time.

    Parameters
    ----------
    parallel, threads
        Taken as they are, if given.
    """
    import psutil
    import torch

    cores = count_cores()
    threads = threads or max(1, cores // len(TABLE_2))
    free = min(psutil.virtual_memory().available, memory_limit()) / 1e9
    needs = sorted((run_gigabytes(data, job.config) for job, data in jobs), reverse=True)
    fitting = sum(sum(needs[: count + 1]) <= SHARE_OF_MEMORY * free for count in range(len(needs)))
    device = pick_device(jobs[0][0].config.device) if jobs else torch.device("cpu")
    gpus = torch.cuda.device_count() if device.type == "cuda" and device.index is None else 1
    serving = gpus if device.type == "cuda" else max(1, cores // threads)
    chosen = parallel or max(1, min(fitting, serving, len(needs)))
    places = f"{gpus} GPU{'s' if gpus > 1 else ''}" if device.type == "cuda" else f"{cores} cores"
    return Parallelism(
        parallel=chosen,
        threads=threads,
        spread=1 < chosen <= gpus,
        grounds=f"about {max(needs, default=0):.1f} GB a run at most, {free:.1f} GB free, {places}",
    )


def run_all(jobs: Sequence[Job], room: Parallelism, *, say: Callable[[str], None]) -> list[Ended]:
    """Run jobs as `room` says; one that fails does not keep the others from running.

    Raises
    ------
    ClusterError
        The processes cannot be had.
    KeyboardInterrupt
        Those in hand were ended; each goes on from its last validation when it is run again.
    """
    import dask

    from pipeline.cluster import dask_client

    if room.parallel == 1 or len(jobs) < 2:
        return run_jobs(jobs, listeners=lambda job: (TrainingBar(job.name),), report=lambda end: say(_line(end)))
    workers, device = min(room.parallel, len(jobs)), "cuda" if room.spread else "cpu"
    # Failed runs are told by us, and Ctrl-C ends runs on purpose: nothing for the processes to warn of.
    quiet = dask.config.set({"distributed.nanny.pre-spawn-environ.DASK_LOGGING__DISTRIBUTED": "critical"})
    logging.getLogger("distributed.nanny").setLevel(logging.CRITICAL)
    with quiet, dask_client(workers=workers, scheduler="", device=device) as client, RunsBar(jobs) as bar:
        return _run_on(client, jobs, bar, say=bar.say)


def _run_on(client: "Client", jobs: Sequence[Job], bar: RunsBar, *, say: Callable[[str], None]) -> list[Ended]:
    from distributed import wait

    # What takes longest comes last in the table, and must not begin last.
    futures = {client.submit(Job.run, job, pure=False): job for job in reversed(jobs)}
    waiting, ends = set(futures), []
    while waiting:
        try:
            done = wait(waiting, timeout=LOOK_EVERY, return_when="FIRST_COMPLETED").done
        except TimeoutError:
            done = set()
        for future in done:
            ends.append(_ended(future, futures[future]))
            say(_line(ends[-1]))
        waiting -= done
        bar.look()
    return ends


def _ended(future: "Future[bool]", job: Job) -> Ended:
    from distributed import KilledWorker

    try:
        return Ended(job=job, trained=future.result())
    except KilledWorker:
        why = "every process that took it died, as when memory runs out; run the same command with a lower --parallel"
        return Ended(job=job, error=why)
    except HearError as error:
        return Ended(job=job, error=str(error))


def _line(ended: Ended) -> str:
    return f"{ended.job.name}: {ended.error or ('done' if ended.trained else 'complete already')}"
