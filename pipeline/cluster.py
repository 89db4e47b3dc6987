"""Where songs are extracted: this process, local worker processes, or a Dask scheduler elsewhere."""

import logging
import shutil
import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError
from contextlib import contextmanager, suppress
from importlib.metadata import PackageNotFoundError, version
from multiprocessing import resource_tracker
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from stages.extract.plan import SongTask
from stages.extract.run import Outcome, Tally
from stages.extract.worker import SongResult, WorkerConfig, extract_song
from stages.songs.errors import shown
from store.errors import HearError

if TYPE_CHECKING:
    from distributed import Client, Future

# Songs submitted beyond one a worker, so that no worker waits for the scheduler.
SONGS_AHEAD = 2
# Seconds until a scheduler that does not answer, or that no worker joins, is given up.
CONNECT_SECONDS = 10.0
# Seconds for processes on this machine to start; a cold disk takes half a minute to load the libraries.
START_SECONDS = 300.0
# Bytes of /dev/shm that the locks of some processes take, and a little more.
LEAST_SHARED = 1 << 18
# Seconds between two looks for a stop and for the workers.
LOOK_EVERY = 0.2
PACKAGE = "hear-music"
# How many parts of these versions must be the same on a scheduler, its workers and here; other parts are told.
SAME_PARTS = {PACKAGE: 9, "python": 2, "distributed": 2}
# The scheduler's states of a task that no worker has.
UNASSIGNED = ("waiting", "queued", "no-worker")


class ClusterError(HearError):
    """The workers cannot be had."""


@contextmanager
def dask_client(
    *, workers: int, scheduler: str, device: str, say: Callable[[str], None] = lambda line: None
) -> "Iterator[Client]":
    """Connect to `scheduler`, or start `workers` processes here (one a GPU through dask-cuda on CUDA).

    `say` hears of small differences between the versions there and here.

    Raises
    ------
    ClusterError
        The scheduler does not answer or has no worker, they have no hear-music or versions that do not fit; /dev/shm is
        full; or GPUs are wanted and the extra `cuda` is not installed.
    """
    import dask
    from distributed import Client, LocalCluster
    from distributed.versions import VersionMismatchWarning

    from pipeline.local_workers import local_workers

    if scheduler:
        try:
            with warnings.catch_warnings():
                # Of versions that differ, as a table; we tell what matters of it.
                warnings.simplefilter("ignore", VersionMismatchWarning)
                client = Client(scheduler, timeout=CONNECT_SECONDS)
        except (OSError, TimeoutError, ValueError) as error:
            raise ClusterError(f"--scheduler {scheduler}: no Dask scheduler answers there ({error})") from error
        with _quiet("distributed.client"), client:
            _wait_for_a_worker(client, scheduler)
            _check_versions(client, scheduler, say)
            yield client
        return
    # Port 0 is any free one: a second run beside this one must not quarrel about the dashboard's.
    settings: dict[str, Any] = {"threads_per_worker": 1, "memory_limit": None, "dashboard_address": ":0"}
    with dask.config.set(_worker_settings()):
        if device == "cuda":
            _check_shared_memory()
            with _deaf_to_interrupts():
                cluster = _cuda_cluster()(n_workers=workers, **settings)
            with cluster, Client(cluster) as client:
                yield client
            return
        with (
            LocalCluster(n_workers=0, **settings) as cluster,
            Client(cluster) as client,
            local_workers(cluster.scheduler_address, workers) as given_up,
        ):
            _wait_for_all(client, workers, given_up)
            yield client


def _check_shared_memory() -> None:
    """Refuse to begin dask-cuda's workers without room for their locks: they would never start."""
    with suppress(OSError):  # a system without /dev/shm does not need it
        if shutil.disk_usage("/dev/shm").free < LEAST_SHARED:
            raise ClusterError(
                "/dev/shm is full, and processes need a little of it: make room there, or work in this process "
                "(--workers 0, for an ablation --parallel 1)"
            )


def _wait_for_all(client: "Client", workers: int, given_up: Callable[[], bool]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while workers:
        try:
            client.wait_for_workers(workers, timeout=LOOK_EVERY)
            return
        except TimeoutError as error:
            if given_up():
                raise ClusterError("worker processes end as soon as they are started, see above") from error
            if time.monotonic() > deadline:
                raise ClusterError(f"{workers} worker processes did not start within {START_SECONDS:g} s") from error


@contextmanager
def _quiet(name: str) -> Iterator[None]:
    """While open, a logger says nothing: a client prints tracebacks of a scheduler that is lost, which we tell."""
    logger = logging.getLogger(name)
    before = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        logger.setLevel(before)


def _wait_for_a_worker(client: "Client", scheduler: str) -> None:
    try:
        client.wait_for_workers(1, timeout=CONNECT_SECONDS)
    except TimeoutError as error:
        raise ClusterError(
            f"--scheduler {scheduler}: has no Dask worker, and none joined within {CONNECT_SECONDS:g} s; start some "
            f"with: dask worker {scheduler}"
        ) from error


def _check_versions(client: "Client", scheduler: str, say: Callable[[str], None]) -> None:
    """Refuse a scheduler or worker that could not read what is sent, before it loses a song for it."""
    told = set()
    (_, ours), *others = _versions(client).items()
    for place, theirs in others:
        for name, parts in SAME_PARTS.items():
            found, expected = theirs[name], ours[name]
            if not found:
                raise ClusterError(f"--scheduler {scheduler}: {place} has no {name}; install {name} {expected} there")
            if found.split(".")[:parts] != expected.split(".")[:parts]:
                raise ClusterError(
                    f"--scheduler {scheduler}: {place} has {name} {found}, this command has {expected}; install the "
                    "same there and here"
                )
            if found != expected:
                told.add(f"note: {place.split(' at ')[0]} has {name} {found}, this command has {expected}")
    for line in sorted(told):
        say(line)


def _versions(client: "Client") -> dict[str, Mapping[str, str]]:
    """Versions by package of this process, the scheduler and each worker; empty for one that is not installed."""
    found: Any = client.get_versions()
    places = {"here": found["client"], "the scheduler": found["scheduler"]}
    places |= {f"the worker at {address}": worker for address, worker in found["workers"].items()}
    ours: dict[str, Any] = {"here": version(PACKAGE), "the scheduler": ""}
    with suppress(PackageNotFoundError):
        ours["the scheduler"] = client.run_on_scheduler(version, PACKAGE)
    of_workers = client.run(version, PACKAGE, on_error="return")
    ours |= {f"the worker at {address}": name if isinstance(name, str) else "" for address, name in of_workers.items()}
    return {place: {**about["packages"], PACKAGE: ours.get(place, "")} for place, about in places.items() if about}


def _worker_settings() -> dict[str, Any]:
    import dask

    environment = dict(dask.config.get("distributed.nanny.pre-spawn-environ"))
    # Dask lowers glibc's trim threshold: every large array is then mapped anew and faulted in page by page, which made
    # a training step on a CPU 2.7 times as long.
    environment.pop("MALLOC_TRIM_THRESHOLD_", None)
    return {"distributed.nanny.pre-spawn-environ": environment}


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
    bench: WorkerConfig,
    *,
    report: Callable[[Outcome], None],
    say: Callable[[str], None],
    stop: threading.Event,
) -> Tally:
    """Extract every song as one Dask task; workers write the records, and only counts come back.

    A worker that is lost has its songs done by another; `say` hears when there is none. `stop` ends the run after the
    views in hand; a worker's error sets it.

    Raises
    ------
    HearError
        The first error of a worker that is not a single view's failure (a full disk, missing weights), or the
        scheduler is lost.
    """
    total, begun = Tally(), time.perf_counter()
    problem: HearError | None = None
    with _scheduler_needed(client):
        songs = _SubmittedSongs(client, tasks, bench, stop)
        with songs.watched(say):
            for result in songs.results():
                total.waiting += result.waiting
                total.encoding += result.encoding
                for outcome in result.outcomes:
                    total.add(outcome)
                    report(outcome)
                if result.error is not None:
                    problem = problem or result.error
                    # The others finish what they have in hand: Dask complains of tasks that are cut short.
                    stop.set()
    if problem is not None:
        raise problem
    total.elapsed = time.perf_counter() - begun
    return total


@contextmanager
def _scheduler_needed(client: "Client") -> Iterator[None]:
    """While open, what the client raises when the scheduler goes away is one error of ours."""
    from distributed.client import ClosedClientError
    from distributed.comm.core import CommClosedError

    assert client.scheduler is not None
    address = client.scheduler.address
    try:
        yield
    except (CancelledError, ClosedClientError, OSError) as error:
        # Any other OSError of a client that is connected is not the scheduler's.
        if isinstance(error, OSError) and not isinstance(error, CommClosedError) and client.status == "running":
            raise
        raise ClusterError(f"{address}: the scheduler was lost; the same command goes on from here") from error


class _SubmittedSongs:
    """The songs that Dask has: a few more than workers, so that none waits, and few enough to take back.

    A thread looks after them while this one waits for results, and cannot.
    """

    def __init__(self, client: "Client", tasks: Sequence[SongTask], bench: WorkerConfig, stop: threading.Event) -> None:
        from distributed import Event, as_completed

        self._client = client
        self._bench = bench
        self._stop = stop
        self._told = Event(f"hear-stop-{uuid4().hex}", client=client)
        self._waiting = iter(tasks)
        self._running = as_completed(loop=client.loop)
        self._songs: dict[object, tuple[Future[SongResult], SongTask]] = {}

    def results(self) -> Iterator[SongResult]:
        """Each song's result as it comes; after a stop, those of songs that a worker has begun."""
        # All workers: a client of some versions tells of five unless asked.
        workers = len(self._client.scheduler_info(n_workers=-1)["workers"])
        for _ in range(max(1, workers) + SONGS_AHEAD):
            self._submit()
        for future in self._running:
            _, task = self._songs.pop(future.key)
            try:
                result = _result(future, task)
            except CancelledError:
                if not self._stop.is_set():
                    raise
            else:
                yield result
            self._submit()

    def _submit(self) -> None:
        task = None if self._stop.is_set() else next(self._waiting, None)
        if task is not None:
            future = self._client.submit(extract_song, task, self._bench, self._told, pure=False)
            self._songs[future.key] = future, task
            self._running.add(future)

    @contextmanager
    def watched(self, say: Callable[[str], None]) -> Iterator[None]:
        """While open, a stop reaches the workers, and `say` hears when the last of them is lost."""
        over = threading.Event()
        # Daemonic, and not waited for without an end: a scheduler that hangs must not keep the process.
        watcher = threading.Thread(target=self._watch, args=(over, say), name="watch", daemon=True)
        watcher.start()
        try:
            yield
        finally:
            over.set()
            watcher.join(CONNECT_SECONDS)

    def _watch(self, over: threading.Event, say: Callable[[str], None]) -> None:
        from distributed.client import ClosedClientError

        here = True
        # A lost scheduler is for the thread that waits for results to tell.
        with suppress(CancelledError, ClosedClientError, OSError):
            while not over.wait(LOOK_EVERY) and self._client.status == "running":
                if self._stop.is_set():
                    self._take_back()
                    continue
                before, here = here, bool(self._client.nthreads())
                if before and not here:
                    say("no Dask worker is left; the run goes on when one joins, and Ctrl-C ends it")

    def _take_back(self) -> None:
        """Tell the workers to end after the view in hand, and cancel the songs that no worker has."""
        self._told.set()
        # By the scheduler's word: a song that has just been done counts, though this client has not heard of it yet.
        assert self._client.scheduler is not None
        states = self._client.sync(self._client.scheduler.get_task_status, keys=list(self._songs))
        waiting = [future for key, (future, _) in list(self._songs.items()) if states.get(key) in UNASSIGNED]
        self._client.cancel(waiting)


def _result(future: "Future[SongResult]", task: SongTask) -> SongResult:
    from distributed import KilledWorker

    try:
        result = future.result()
    except KilledWorker:
        why = f"{shown(task.path)}: every worker that took this song died (memory, or a broken decoder)"
        return SongResult(tuple(Outcome(task.song_id, view, "failed", error=why) for view in task.views))
    return result
