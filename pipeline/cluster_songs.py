"""Extracts songs as Dask tasks: submits a few more than there are workers, and ends them when asked."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING
from uuid import uuid4

from pipeline.cluster import CONNECT_SECONDS, LOOK_EVERY, ClusterError
from stages.extract.plan import SongTask
from stages.extract.run import Outcome, Tally
from stages.extract.worker import SongResult, WorkerConfig, extract_song
from stages.songs.errors import shown
from store.errors import HearError

if TYPE_CHECKING:
    from distributed import Client, Future

# Songs submitted in addition to one per worker, so that no worker waits for the scheduler.
SONGS_AHEAD = 2
# The scheduler's states of a task that no worker has.
UNASSIGNED = ("waiting", "queued", "no-worker")


def run_on_cluster(
    client: "Client",
    tasks: Sequence[SongTask],
    worker: WorkerConfig,
    *,
    report: Callable[[Outcome], None],
    say: Callable[[str], None],
    stop: threading.Event,
) -> Tally:
    """Extract every song as one Dask task; workers write the records and return only counts.

    If a worker is lost, another one takes over its songs; `say` is called when none is left. `stop` ends the run after
    the current views; a worker's error sets it.

    Raises
    ------
    HearError
        The first error of a worker that is not a single view's failure (a full disk, missing weights), or the
        scheduler is lost.
    """
    total, started = Tally(), time.perf_counter()
    first_error: HearError | None = None
    with _scheduler_needed(client):
        songs = _SubmittedSongs(client, tasks, worker, stop)
        with songs.watched(say):
            for result in songs.results():
                total.waiting += result.waiting
                total.encoding += result.encoding
                for outcome in result.outcomes:
                    total.add(outcome)
                    report(outcome)
                if result.error is not None:
                    first_error = first_error or result.error
                    # The others finish their current views: Dask warns of tasks that are cut short.
                    stop.set()
    if first_error is not None:
        raise first_error
    total.elapsed = time.perf_counter() - started
    return total


@contextmanager
def _scheduler_needed(client: "Client") -> Iterator[None]:
    """While open, turn the client's errors about a lost scheduler into one error of ours."""
    from distributed.client import ClosedClientError
    from distributed.comm.core import CommClosedError

    assert client.scheduler is not None
    address = client.scheduler.address
    try:
        yield
    except (CancelledError, ClosedClientError, OSError) as error:
        # Other OSErrors of a connected client do not come from the scheduler.
        if isinstance(error, OSError) and not isinstance(error, CommClosedError) and client.status == "running":
            raise
        raise ClusterError(f"{address}: the scheduler was lost; run the same command again to continue") from error


class _SubmittedSongs:
    """The songs submitted to Dask: more than there are workers, so that none waits, but few enough to cancel.

    A second thread watches them, because this one is blocked while it waits for results.
    """

    def __init__(
        self, client: "Client", tasks: Sequence[SongTask], worker: WorkerConfig, stop: threading.Event
    ) -> None:
        from distributed import Event, as_completed

        self._client = client
        self._worker = worker
        self._stop = stop
        self._stop_workers = Event(f"hear-stop-{uuid4().hex}", client=client)
        self._waiting = iter(tasks)
        self._running = as_completed(loop=client.loop)
        self._songs: dict[object, tuple[Future[SongResult], SongTask]] = {}

    def results(self) -> Iterator[SongResult]:
        """Each song's result when it is ready; after a stop, only those of songs that a worker has started."""
        # -1 means all workers; some versions report only five by default.
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
            future = self._client.submit(extract_song, task, self._worker, self._stop_workers, pure=False)
            self._songs[future.key] = future, task
            self._running.add(future)

    @contextmanager
    def watched(self, say: Callable[[str], None]) -> Iterator[None]:
        """While open, pass a stop on to the workers, and call `say` when the last of them is lost."""
        over = threading.Event()
        # Daemonic, and joined with a timeout: a hanging scheduler must not keep the process alive.
        watcher = threading.Thread(target=self._watch, args=(over, say), name="watch", daemon=True)
        watcher.start()
        try:
            yield
        finally:
            over.set()
            watcher.join(CONNECT_SECONDS)

    def _watch(self, over: threading.Event, say: Callable[[str], None]) -> None:
        from distributed.client import ClosedClientError

        some = True
        # The thread that waits for results reports a lost scheduler.
        with suppress(CancelledError, ClosedClientError, OSError):
            while not over.wait(LOOK_EVERY) and self._client.status == "running":
                if self._stop.is_set():
                    self._cancel_waiting()
                    continue
                before, some = some, bool(self._client.nthreads())
                if before and not some:
                    say("no Dask worker is left; the run continues when one joins; Ctrl-C ends it")

    def _cancel_waiting(self) -> None:
        """Tell the workers to end after their current view, and cancel the songs that no worker has."""
        self._stop_workers.set()
        # Ask the scheduler, which also knows of songs that have just been finished.
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
