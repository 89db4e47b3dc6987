"""One song on a worker: the encoders are loaded once a process, and the records are written from here."""

import socket
from dataclasses import dataclass, replace
from functools import lru_cache
from multiprocessing.util import Finalize

from stages.extract.config import ExtractConfig
from stages.extract.plan import SongTask
from stages.extract.run import Extractor, Outcome, Stop, Tally
from stages.extract.views.feed import ViewFeed
from store import Spec, StoreWriter
from store.errors import HearError, StoreNotFoundError


@dataclass(frozen=True)
class WorkerConfig:
    """What a worker keeps at hand between songs: where records go, how they are made, how many processes prepare."""

    root: str
    config: ExtractConfig
    processes: int = 1


@dataclass(frozen=True)
class SongResult:
    """What travels back from a worker: the outcomes, where the time went (seconds), and what must end the run.

    The error is a value, as Dask prints the traceback of what a task raises.
    """

    outcomes: tuple[Outcome, ...]
    waiting: float = 0.0
    encoding: float = 0.0
    error: HearError | None = None


def extract_song(task: SongTask, bench: WorkerConfig, stop: Stop) -> SongResult:
    """Make the views of one song; those that a lost worker has written already are not made again.

    A record that the task replaces is not such a view as long as it stands there.

    `stop` ends it after the view in hand, or before the first. The result's error tells that the encoders cannot be
    loaded, or that the store is not there or cannot be written.
    """
    outcomes: list[Outcome] = []
    if stop.is_set():
        return SongResult(())
    try:
        tally = _extract(task, extractor_for(bench), outcomes, stop)
    except HearError as error:
        return SongResult(tuple(outcomes), error=error)
    return SongResult(tuple(outcomes), tally.waiting, tally.encoding)


def _extract(task: SongTask, extractor: Extractor, outcomes: list[Outcome], stop: Stop) -> Tally:
    standing = {view: extractor.writer.digest(task.song_id, view) for view in task.views}
    missing = tuple(view for view, digest in standing.items() if digest in (None, task.replaces.get(view)))
    outcomes += [Outcome(task.song_id, view, "done") for view in task.views if view not in missing]
    tally = extractor.run([replace(task, views=missing)], report=outcomes.append, stop=stop)
    if stop.is_set():
        # What was begun ahead ends within this task: Dask gives a worker that it closes a few seconds only.
        extractor.feed.close()
    return tally


@lru_cache(maxsize=1)
def extractor_for(bench: WorkerConfig) -> Extractor:
    """Load the encoders and open the store, once a process.

    Raises
    ------
    HearError
        The encoders cannot be loaded, or the store is not where it should be.
    """
    encoders = bench.config.load_encoders()
    writer = _opened(bench.root, bench.config.spec(encoders))
    feed = ViewFeed(processes=bench.processes)
    # A worker that ends would wait for threads that wait for their processes. (It runs no other exit handlers.)
    Finalize(None, feed.close, exitpriority=20)
    return Extractor(encoders, writer, feed, seed=bench.config.seed, pool=bench.config.pool)


def _opened(root: str, spec: Spec) -> StoreWriter:
    """The store, which the command has made: one made here would be another, on a folder that is not mounted."""
    try:
        return StoreWriter.open(root, spec, create=False)
    except StoreNotFoundError as error:
        raise HearError(
            f"the Dask worker on {socket.gethostname()} does not find the store: {error}; workers must see audio and "
            "store under the same paths as the command"
        ) from error
