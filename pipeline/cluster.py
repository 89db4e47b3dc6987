"""Connects to a Dask scheduler, or starts one with worker processes on this machine."""

import logging
import shutil
import signal
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib.metadata import PackageNotFoundError, version
from multiprocessing import resource_tracker
from typing import TYPE_CHECKING, Any

from store.errors import HearError

if TYPE_CHECKING:
    from distributed import Client

# Seconds to wait for a scheduler to answer, and for its first worker.
CONNECT_SECONDS = 10.0
# Seconds for processes on this machine to start; loading the libraries from a cold disk takes half a minute.
START_SECONDS = 300.0
# Bytes of /dev/shm that the locks of a few processes need, with some reserve.
LEAST_SHARED = 1 << 18
# Seconds between two checks of the workers, and of whether to stop.
LOOK_EVERY = 0.2
PACKAGE = "hear-music"
# How many parts of these versions must match between a scheduler, its workers and here; other differences are noted.
SAME_PARTS = {PACKAGE: 9, "python": 2, "distributed": 2}


class ClusterError(HearError):
    """The workers cannot be started or reached."""


@contextmanager
def dask_client(
    *, workers: int, scheduler: str, device: str, say: Callable[[str], None] = lambda line: None
) -> "Iterator[Client]":
    """Connect to `scheduler`, or start `workers` processes here (with CUDA, one per GPU through dask-cuda).

    `say` is called with small differences between the versions there and here.

    Raises
    ------
    ClusterError
        The scheduler does not answer or has no worker; hear-music is missing there, or versions do not match; /dev/shm
        is full; or GPUs are used and the extra `cuda` is not installed.
    """
    import dask
    from distributed import Client, LocalCluster
    from distributed.versions import VersionMismatchWarning

    from pipeline.local_workers import local_workers

    if scheduler:
        try:
            with warnings.catch_warnings():
                # A table of all versions that differ; `_check_versions` reports those that matter.
                warnings.simplefilter("ignore", VersionMismatchWarning)
                client = Client(scheduler, timeout=CONNECT_SECONDS)
        except (OSError, TimeoutError, ValueError) as error:
            raise ClusterError(f"--scheduler {scheduler}: no Dask scheduler answers there ({error})") from error
        with _quiet("distributed.client"), client:
            _wait_for_a_worker(client, scheduler)
            _check_versions(client, scheduler, say)
            yield client
        return
    # Port 0 is any free port, so that two runs do not compete for the dashboard's port.
    settings: dict[str, Any] = {"threads_per_worker": 1, "memory_limit": None, "dashboard_address": ":0"}
    # The scheduler warns of results that are lost with closing workers, even if nobody needs them.
    with dask.config.set(_worker_settings()), _quiet("distributed.scheduler"):
        if device == "cuda":
            _check_shared_memory()
            with _interrupts_blocked():
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
    """Refuse to start dask-cuda's workers without space for their locks: they would hang."""
    with suppress(OSError):  # a system without /dev/shm does not need it
        if shutil.disk_usage("/dev/shm").free < LEAST_SHARED:
            raise ClusterError(
                "/dev/shm is full, and worker processes need some of it: free some space, or use this process alone "
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
                raise ClusterError(
                    "worker processes ended as soon as they started; see their messages above"
                ) from error
            if time.monotonic() > deadline:
                raise ClusterError(f"{workers} worker processes did not start within {START_SECONDS:g} s") from error


@contextmanager
def _quiet(name: str) -> Iterator[None]:
    """While open, silence a logger: clients log tracebacks when the scheduler is lost, which is reported here."""
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
    """Refuse a scheduler or worker whose versions could not read our tasks."""
    differences = set()
    (_, ours), *others = _versions(client).items()
    for place, theirs in others:
        for name, parts in SAME_PARTS.items():
            found, expected = theirs[name], ours[name]
            if not found:
                raise ClusterError(f"--scheduler {scheduler}: {place} has no {name}; install {name} {expected} there")
            if found.split(".")[:parts] != expected.split(".")[:parts]:
                raise ClusterError(
                    f"--scheduler {scheduler}: {place} has {name} {found}, this command has {expected}; install the "
                    "same version there and here"
                )
            if found != expected:
                differences.add(f"note: {place.split(' at ')[0]} has {name} {found}, this command has {expected}")
    for line in sorted(differences):
        say(line)


def _versions(client: "Client") -> dict[str, Mapping[str, str]]:
    """Versions by package of this process, the scheduler and each worker; empty if not installed."""
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
    # Dask lowers glibc's trim threshold, so every large array is mapped again and faulted in page by page: a training
    # step on a CPU took 2.7 times as long.
    environment.pop("MALLOC_TRIM_THRESHOLD_", None)
    # Otherwise each worker prints twenty lines about its start and end.
    environment["DASK_LOGGING__DISTRIBUTED"] = "warning"
    return {"distributed.nanny.pre-spawn-environ": environment}


@contextmanager
def _interrupts_blocked() -> Iterator[None]:
    """Threads and processes started meanwhile do not get Ctrl-C, which a terminal sends to the whole process group.

    The command decides what they finish. (Dask starts and restarts its workers from such a thread.)
    """
    # Python 3.11's tracker unblocks the signal in the thread that starts it, so start it first.
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
