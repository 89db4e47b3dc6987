"""Extraction of songs on a worker. The encoders are loaded once per process; the worker writes the records."""

import socket
from collections.abc import Sequence
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
    """A worker's settings: root of the store, extraction settings, and number of processes that prepare views."""

    root: str
    extract: ExtractConfig
    processes: int = 1


@dataclass(frozen=True)
class SongsResult:
    """The result of some songs: the outcomes, times in seconds, and an error that must end the run.

    The error is returned, not raised, because Dask prints the traceback of exceptions in tasks.
    """

    outcomes: tuple[Outcome, ...]
    waiting: float = 0.0
    encoding: float = 0.0
    error: HearError | None = None


def extract_songs(tasks: Sequence[SongTask], config: WorkerConfig, stop: Stop) -> SongsResult:
    """Make the views of some songs, except those that a lost worker has already written.

    `stop` ends the task before the first or after the current view. The result's error says that the encoders cannot be
    loaded, or that the store is missing or cannot be written.
    """
    outcomes: list[Outcome] = []
    if stop.is_set():
        return SongsResult(())
    try:
        tally = _extract(tasks, extractor_for(config), outcomes, stop)
    except HearError as error:
        return SongsResult(tuple(outcomes), error=error)
    return SongsResult(tuple(outcomes), tally.waiting, tally.encoding)


def _extract(tasks: Sequence[SongTask], extractor: Extractor, outcomes: list[Outcome], stop: Stop) -> Tally:
    left = []
    for task in tasks:
        stored = {view: extractor.writer.digest(task.song_id, view) for view in task.views}
        # A record that the task replaces is still to be made.
        missing = tuple(view for view, digest in stored.items() if digest in (None, task.replaces.get(view)))
        outcomes += [Outcome(task.song_id, view, "done") for view in task.views if view not in missing]
        left.append(replace(task, views=missing))
    tally = extractor.run(left, report=outcomes.append, stop=stop)
    if stop.is_set():
        # End prepared views within this task, because Dask gives a closing worker only a few seconds.
        extractor.feed.close()
    return tally


@lru_cache(maxsize=1)
def extractor_for(config: WorkerConfig) -> Extractor:
    """Load the encoders and open the store, once per process.

    Raises
    ------
    HearError
        The encoders cannot be loaded, or the store does not exist.
    """
    extract = config.extract
    encoders = extract.load_encoders()
    writer = _open_store(config.root, extract.spec(encoders))
    feed = ViewFeed(processes=config.processes)
    # Otherwise a closing worker waits for threads that wait for their processes. It runs no other exit handlers.
    Finalize(None, feed.close, exitpriority=20)
    return Extractor(encoders, writer, feed, seed=extract.seed, pool=extract.pool)


def _open_store(root: str, spec: Spec) -> StoreWriter:
    """Open the store that the command created. Creating one here could hide that a folder is not mounted."""
    try:
        return StoreWriter.open(root, spec, create=False)
    except StoreNotFoundError as error:
        raise HearError(
            f"the Dask worker on {socket.gethostname()} cannot find the store: {error}; workers must see audio and "
            "store under the same paths as the command"
        ) from error
