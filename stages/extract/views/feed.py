"""Preparation of songs ahead of the encoders, in other processes and with bounded memory."""

import threading
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Self

from stages.common.machine import memory_limit
from stages.common.processes import Processes
from stages.extract.views.prepare import FailedView, PreparedView, SongRequest, prepare_in, prepare_views

# Views that may wait per process. Their costs differ by a factor of ten, so that they come in bursts.
WAITING_PER_PROCESS = 4
# Views that may wait in all: each keeps a file open, and a process may usually have 1,024.
MOST_WAITING = 256
# Share of memory for the samples of views that wait.
WAITING_SHARE = 1 / 16


class ViewFeed:
    """Prepares songs ahead of their use.

    At most `WAITING_PER_PROCESS` views per process wait for the caller, at most `WAITING_SHARE` of the memory. Each
    process then holds one more, and the song that it works on.

    Parameters
    ----------
    processes
        Number of processes; with 0, views are prepared in this process on demand. A process prepares one view at a
        time, because augmentation seeds the global generators (see `stages.extract.views.augment`).
    """

    def __init__(self, *, processes: int) -> None:
        self.processes = processes
        self._running: Processes | None = None
        self._work: _Work | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    def close(self) -> None:
        """End the processes and drop unfinished views. A later use starts new processes."""
        if self._work is not None:
            self._work.close()
        if self._running is not None:
            self._running.close()
            self._running = None
        if self._work is not None:
            self._work.join()
            self._work = None

    def views(self, requests: Iterable[SongRequest]) -> Iterator[tuple[SongRequest, PreparedView | FailedView]]:
        """Yield the views of all requests as they become ready, each with its request; those of one song may be mixed.

        A process that has finished its song takes the next one. When no song is left, it decodes the song with the most
        views left, and helps with these.
        """
        if self.processes == 0:
            for request in requests:
                yield from ((request, prepared) for prepared in prepare_views(request.views, request))
            return
        if self._running is None:
            self._running = Processes(self.processes)
        self._work = work = _Work(requests, self._running, readers=self.processes)
        try:
            yield from work.ready_views()
        finally:
            work.close()


@dataclass(frozen=True)
class _OpenSong:
    """A song that some process works on, and its views that none has taken."""

    request: SongRequest
    left: deque[int]

    def take(self) -> Iterator[int]:
        with suppress(IndexError):
            while True:
                yield self.left.popleft()


class _Work:
    """Songs to prepare, views that wait, and the threads in between, one for each process."""

    def __init__(self, requests: Iterable[SongRequest], processes: Processes, *, readers: int) -> None:
        self._requests = iter(requests)
        self._songs: list[_OpenSong] = []
        self._ready: deque[tuple[SongRequest, PreparedView | FailedView]] = deque()
        self._most = min(WAITING_PER_PROCESS * readers, MOST_WAITING)
        self._most_bytes = WAITING_SHARE * memory_limit()
        self._bytes = 0
        self._readers = readers
        self._closed = False
        self._error: Exception | None = None
        self._changed = threading.Condition()
        # Daemonic: a program that ends does not wait for views that nobody takes.
        settings: dict[str, Any] = {"target": self._read, "args": (processes,), "name": "prepare", "daemon": True}
        self._threads = [threading.Thread(**settings) for _ in range(readers)]
        for thread in self._threads:
            thread.start()

    def _read(self, processes: Processes) -> None:
        """Prepare views until none is left."""
        try:
            while (song := self._next_song()) is not None:
                for prepared in prepare_in(processes, song.request, views=song.take()):
                    if not self._add(song.request, prepared):
                        return
        except Exception as error:  # of the requests, or a defect: for the thread that uses the views
            self._error = error
        finally:
            with self._changed:
                self._readers -= 1
                self._changed.notify_all()

    def ready_views(self) -> Iterator[tuple[SongRequest, PreparedView | FailedView]]:
        """Yield each view when it is ready, until all threads have finished. Raises the error of a thread."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._ready or not self._readers or self._closed)
                if self._error is not None:
                    raise self._error
                if not self._ready or self._closed:
                    return
                request, prepared = self._ready.popleft()
                self._bytes -= _size(prepared)
                self._changed.notify_all()
            yield request, prepared

    def close(self) -> None:
        """Drop all views; threads end after their current view."""
        with self._changed:
            self._closed = True
            self._ready.clear()
            self._changed.notify_all()

    def join(self) -> None:
        """Wait for the threads of closed work."""
        for thread in self._threads:
            thread.join()

    def _next_song(self) -> _OpenSong | None:
        """The next song; when there is none, the one with the most views left, to help with; or None."""
        with self._changed:
            if self._closed:
                return None
            request = next((one for one in self._requests if one.views), None)
            if request is not None:
                self._songs = [*(song for song in self._songs if song.left), _OpenSong(request, deque(request.views))]
                return self._songs[-1]
            # Decoding the song again takes about as long as one view.
            return max(
                (song for song in self._songs if len(song.left) > 1), key=lambda song: len(song.left), default=None
            )

    def _add(self, request: SongRequest, prepared: PreparedView | FailedView) -> bool:
        """Add a view when there is room for it, but one view always has room. False if the views are not wanted."""
        size = _size(prepared)
        with self._changed:
            self._changed.wait_for(
                lambda: (
                    self._closed
                    or not self._ready
                    or (len(self._ready) < self._most and self._bytes + size <= self._most_bytes)
                )
            )
            if self._closed:
                return False
            self._ready.append((request, prepared))
            self._bytes += size
            self._changed.notify_all()
            return True


def _size(prepared: PreparedView | FailedView) -> int:
    return prepared.samples.nbytes if isinstance(prepared, PreparedView) else 0
