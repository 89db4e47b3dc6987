"""Where songs are extracted: this process, local worker processes, or a Dask scheduler elsewhere."""

import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing import resource_tracker
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from stages.extract.plan import SongTask
from stages.extract.run import Outcome, Tally
from stages.extract.worker import Bench, SongResult, extract_song
from stages.songs.errors import shown
from store.errors import HearError

if TYPE_CHECKING:
    from distributed import Client, Event, Future

# Songs submitted beyond one a worker, so that no worker waits for the scheduler.
SONGS_AHEAD = 2
# Seconds until a scheduler that does not answer is given up.
CONNECT_SECONDS = 10.0


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
            client = Client(scheduler, timeout=CONNECT_SECONDS)
        except (OSError, TimeoutError, ValueError) as error:
            raise ClusterError(f"--scheduler {scheduler}: no Dask scheduler answers there ({error})") from error
        with client:
            yield client
        return
    with dask.config.set(_worker_settings()):
        kind: Any = _cuda_cluster() if device == "cuda" else LocalCluster
        with _deaf_to_interrupts():
            # Port 0 is any free one: a second run beside this one must not quarrel about the dashboard's.
            cluster = kind(n_workers=workers, threads_per_worker=1, memory_limit=None, dashboard_address=":0")
        with cluster, Client(cluster) as client:
            yield client


def _worker_settings() -> dict[str, Any]:
    import dask

    environment = dict(dask.config.get("distributed.nanny.pre-spawn-environ"))
    # Dask lowers glibc's trim threshold: every large array is then mapped anew and faulted in page by page, which made
    # a training step on a CPU 2.7 times as long.
    environment.pop("MALLOC_TRIM_THRESHOLD_", None)
    # Not daemonic: a worker starts processes of its own that decode and augment ahead.
    return {"distributed.worker.daemon": False, "distributed.nanny.pre-spawn-environ": environment}


@contextmanager
def _deaf_to_interrupts() -> Iterator[None]:
    """Threads and processes begun meanwhile never hear Ctrl-C, which a terminal sends to the whole process group.

    Whoever began them decides what is finished. (Dask begins its workers, lost ones again too, from such a thread.)
    """
    # Python 3.11's tracker unblocks the signal in the thread that begins it: have it running before.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _cuda_cluster() -> Any:
    try:
        from dask_cuda import LocalCUDACluster
    except ImportError as error:
        raise ClusterError("--workers on GPUs needs dask-cuda; install the project with the extra `cuda`") from error
    return LocalCUDACluster


def run_on_cluster(
    client: "Client",
    tasks: Sequence[SongTask],
    bench: Bench,
    *,
    report: Callable[[Outcome], None],
    stop: threading.Event,
) -> Tally:
    """Extract every song as one Dask task; workers write the records, and only counts come back.

    A worker that is lost has its songs done by another. `stop` ends the run after the views in hand.

    Raises
    ------
    HearError
        The first error of a worker that is not a single view's failure (a full disk, missing weights).
    """
    from distributed import Event, as_completed

    told = Event(f"hear-stop-{uuid4().hex}", client=client)
    total, begun = Tally(), time.perf_counter()
    waiting = iter(tasks)
    owner: dict[object, SongTask] = {}
    running = as_completed()

    def submit() -> None:
        task = None if stop.is_set() else next(waiting, None)
        if task is not None:
            future = client.submit(extract_song, task, bench, told, pure=False)
            owner[future.key] = task
            running.add(future)

    for _ in range(max(1, len(client.scheduler_info()["workers"])) + SONGS_AHEAD):
        submit()
    with _passed_on(stop, told):
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


@contextmanager
def _passed_on(stop: threading.Event, told: "Event") -> Iterator[None]:
    """While open, tell the workers when `stop` is set: this thread waits for results, and cannot."""
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.1):
            if stop.is_set():
                told.set()
                return

    watcher = threading.Thread(target=watch, name="stop")
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()


def _result(future: "Future[SongResult]", task: SongTask) -> SongResult:
    from distributed import KilledWorker

    try:
        result = future.result()
    except KilledWorker:
        why = f"{shown(task.path)}: every worker that took this song died (memory, or a broken decoder)"
        return SongResult(tuple(Outcome(task.song_id, view, "failed", error=why) for view in task.views))
    return result
