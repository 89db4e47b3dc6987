"""Where songs are extracted: this process, local worker processes, or a Dask scheduler elsewhere."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from stages.extract.plan import SongTask
from stages.extract.run import Outcome, Tally
from stages.extract.worker import Bench, SongResult, extract_song
from store.errors import HearError

if TYPE_CHECKING:
    from distributed import Client, Future

# Songs submitted beyond one a worker, so that no worker waits for the scheduler.
SONGS_AHEAD = 2


class ClusterError(HearError):
    """The workers cannot be had."""


@contextmanager
def dask_client(*, workers: int, scheduler: str, device: str) -> "Iterator[Client]":
    """Connect to `scheduler`, or start `workers` processes here (one a GPU through dask-cuda on CUDA).

    Raises
    ------
    ClusterError
        The scheduler does not answer, or GPUs are wanted and the extra `cuda` is not installed.
    """
    import dask
    from distributed import Client, LocalCluster

    if scheduler:
        try:
            client = Client(scheduler, timeout="10s")
        except (OSError, TimeoutError, ValueError) as error:
            raise ClusterError(f"--scheduler {scheduler}: no Dask scheduler answers there ({error})") from error
        with client:
            yield client
        return
    # Not daemonic: a worker starts processes of its own that decode and augment ahead.
    with dask.config.set({"distributed.worker.daemon": False}):
        cluster = (
            _cuda_cluster(workers)
            if device.startswith("cuda")
            else LocalCluster(n_workers=workers, threads_per_worker=1, memory_limit=None, dashboard_address=None)
        )
        with cluster, Client(cluster) as client:
            yield client


def _cuda_cluster(workers: int) -> object:
    try:
        from dask_cuda import LocalCUDACluster
    except ImportError as error:
        raise ClusterError("--workers on GPUs needs dask-cuda; install the project with the extra `cuda`") from error
    return LocalCUDACluster(n_workers=workers, threads_per_worker=1, memory_limit=None)


def run_on_cluster(
    client: "Client",
    tasks: Sequence[SongTask],
    bench: Bench,
    *,
    report: Callable[[Outcome], None],
    stop: threading.Event,
) -> Tally:
    """Extract every song as one Dask task; workers write the records, and only counts come back.

    A worker that is lost has its songs done by another. `stop` ends the run after the songs in hand.

    Raises
    ------
    HearError
        The first error of a worker that is not a single view's failure (a full disk, missing weights).
    """
    from distributed import as_completed

    total, begun = Tally(), time.perf_counter()
    waiting = iter(tasks)
    owner: dict[str, SongTask] = {}
    running = as_completed()

    def submit() -> None:
        task = None if stop.is_set() else next(waiting, None)
        if task is not None:
            future = client.submit(extract_song, task, bench, pure=False)
            owner[future.key] = task
            running.add(future)

    for _ in range(max(1, len(client.scheduler_info()["workers"])) + SONGS_AHEAD):
        submit()
    for future in running:
        result = _result(future, owner.pop(future.key))
        total.waiting += result.waiting
        total.encoding += result.encoding
        for outcome in result.outcomes:
            total.add(outcome)
            report(outcome)
        submit()
    total.elapsed = time.perf_counter() - begun
    return total


def _result(future: "Future", task: SongTask) -> SongResult:
    from distributed import KilledWorker

    try:
        result: SongResult = future.result()
    except KilledWorker:
        why = f"{task.path}: every worker that took this song died (memory, or a broken decoder)"
        return SongResult(tuple(Outcome(task.song_id, view, "failed", error=why) for view in task.views))
    return result
