"""Extracts songs in Dask tasks: submits a few more than there are workers, and ends them when asked."""

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING
from uuid import uuid4

from pipeline.cluster import CONNECT_SECONDS, LOOK_EVERY, ClusterError
from stages.extract.plan import SongTask
from stages.extract.run import Outcome, Tally
from stages.extract.worker import SongsResult, WorkerConfig, extract_songs
from stages.songs.errors import shown
from store.errors import HearError

if TYPE_CHECKING:
    from distributed import Client, Future

# Tasks submitted in addition to one per worker, so that no worker waits for the scheduler.
TASKS_AHEAD = 2
# A worker prepares songs ahead only within a task, so a task is as many songs as take this many seconds, and at most
# `MOST_SONGS`. It reports them at its end.
TASK_SECONDS, MOST_SONGS = 20.0, 16
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
    """Extract songs in Dask tasks; workers write the records and return only counts.

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
        self._waiting = deque(tasks)
        # -1 means all workers; some versions report only five by default.
        self._workers = max(1, len(client.scheduler_info(n_workers=-1)["workers"]))
        self._seconds_per_song = math.inf
        self._running = as_completed(loop=client.loop)
        self._songs: dict[object, tuple[Future[SongsResult], Sequence[SongTask]]] = {}

    def results(self) -> Iterator[SongsResult]:
        """The result of each task when it is ready; after a stop, only those of tasks that a worker has started."""
        for _ in range(self._workers + TASKS_AHEAD):
            self._submit(self._next_songs())
        for future in self._running:
            _, songs = self._songs.pop(future.key)
            try:
                result = self._result(future, songs)
            except CancelledError:
                if not self._stop.is_set():
                    raise
            else:
                yield result
                self._seconds_per_song = (result.waiting + result.encoding) / len(songs) or self._seconds_per_song
            self._submit(self._next_songs())

    def _next_songs(self) -> list[SongTask]:
        """The songs of the next task; fewer at the end of the run, so that workers end at the same time."""
        share = len(self._waiting) // (4 * self._workers)
        most = min(MOST_SONGS, TASK_SECONDS // self._seconds_per_song, share)
        return [self._waiting.popleft() for _ in range(min(len(self._waiting), max(1, int(most))))]

    def _submit(self, songs: Sequence[SongTask]) -> None:
        if songs and not self._stop.is_set():
            future = self._client.submit(extract_songs, songs, self._worker, self._stop_workers, pure=False)
            self._songs[future.key] = future, songs
            self._running.add(future)

    def _result(self, future: "Future[SongsResult]", songs: Sequence[SongTask]) -> SongsResult:
        from distributed import KilledWorker

        try:
            return future.result()
        except KilledWorker:
            if len(songs) > 1:
                for song in songs:
                    self._submit([song])
                return SongsResult(())
            (song,) = songs
            why = f"{shown(song.path)}: every worker that took this song died (memory, or a broken decoder)"
            return SongsResult(tuple(Outcome(song.song_id, view, "failed", error=why) for view in song.views))

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
