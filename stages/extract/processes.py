"""Functions that run in processes of their own, which can be ended: files from strangers are decoded there.

Each call has a time limit and each process a memory limit. A decoder that crashes, hangs or takes all memory costs its
own call and no other. Results do not depend on the number of processes.
"""

import json
import os
import pickle
import queue
import signal
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, Pipe
from typing import Any, ParamSpec, Self, TypeVar

from store.errors import HearError

P = ParamSpec("P")
R = TypeVar("R")

# Of this machine's memory, what all processes may take together; each may have the least in any case.
MEMORY_SHARE, LEAST_MEMORY = 0.5, 2 << 30
# Not `multiprocessing`'s own way to begin a process: that runs the caller's script again, which a script without
# `if __name__ == "__main__"` does not survive, and Dask's workers may not use it.
_BEGIN = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from stages.extract.processes import serve; serve()"


class LostProcessError(HearError):
    """The process of a call died or was ended; the message says so, without a subject."""


class Processes:
    """Runs functions in processes that are begun when they are first needed; safe to use from several threads.

    Parameters
    ----------
    count
        Processes at most, which is calls at a time; further calls wait.
    """

    def __init__(self, count: int) -> None:
        self._free: queue.LifoQueue[_Worker | None] = queue.LifoQueue()
        for _ in range(count):
            self._free.put(None)
        self._memory = _memory_limit(count)
        self._lock = threading.Lock()
        self._alive: set[_Worker] = set()
        self._closed = False
        # Whoever forgets to close it, as a notebook does, leaves no process behind.
        weakref.finalize(self, _end_all, self._alive)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    def call(self, seconds: float, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run a module's function and return what it returns; both travel as pickles.

        Parameters
        ----------
        seconds
            How long it may take; then its process is ended.

        Raises
        ------
        LostProcessError
            The process died, took too long, or `close` was called.
        HearError, MemoryError
            What the function raised; any other exception comes as a HearError that names it.
        """
        worker = self._free.get()
        healthy = False
        try:
            try:
                worker = worker or self._begin()
            except OSError as error:
                raise LostProcessError(f"could not be begun: {error.strerror}") from error
            ok, outcome = worker.ask(seconds, (function, args, kwargs))
            healthy = True
        finally:
            if worker is not None and not healthy:
                self._end(worker)
            self._free.put(worker if healthy else None)
        if ok:
            return outcome  # type: ignore[no-any-return]
        raise outcome

    def close(self) -> None:
        """End all processes; calls that wait for one raise `LostProcessError`."""
        with self._lock:
            self._closed = True
            for worker in self._alive:
                worker.process.kill()
        # Those that are in a call are put away by its thread, which looks at their pipes.
        idle = []
        with suppress(queue.Empty):
            while True:
                idle.append(self._free.get_nowait())
        for each in idle:
            if each is not None:
                self._end(each)
            self._free.put(None)

    def _begin(self) -> "_Worker":
        with self._lock:
            if self._closed:
                raise LostProcessError("was not begun: its run has ended")
            worker = _Worker.begin(self._memory)
            self._alive.add(worker)
            return worker

    def _end(self, worker: "_Worker") -> None:
        worker.end()
        with self._lock:
            self._alive.discard(worker)


def _end_all(workers: "set[_Worker]") -> None:
    while workers:
        workers.pop().end()


@dataclass(eq=False)
class _Worker:
    """One process and the pipe to it."""

    process: "subprocess.Popen[bytes]"
    pipe: Connection

    @classmethod
    def begin(cls, memory: int) -> "_Worker":
        path = json.dumps([str(place) for place in sys.path])
        ours, theirs = Pipe()
        with theirs:
            process = subprocess.Popen(
                [sys.executable, "-c", _BEGIN, path, str(theirs.fileno()), str(memory)],
                # Its end tells the process that this one is gone, however it went.
                stdin=subprocess.PIPE,
                # Decoders in C print remarks that name no file.
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                # Ctrl-C reaches the whole group of the terminal: who began the process decides what is finished.
                process_group=0,
            )
        return cls(process, ours)

    def ask(self, seconds: float, task: Any) -> tuple[bool, Any]:
        try:
            self.pipe.send(task)
            if not self.pipe.poll(seconds):
                raise LostProcessError(f"took longer than {seconds:.4g} s and was ended")
            data, sizes = pickle.loads(self.pipe.recv_bytes())
            return pickle.loads(data, buffers=[self._buffer(size) for size in sizes])  # type: ignore[no-any-return]
        except (EOFError, OSError) as error:
            raise LostProcessError(f"died ({self._how()})") from error

    def _buffer(self, size: int) -> bytearray:
        buffer = bytearray(size)
        self.pipe.recv_bytes_into(buffer)
        return buffer

    def _how(self) -> str:
        try:
            code = self.process.wait(1.0)
        except subprocess.TimeoutExpired:
            return "no reason given"
        return f"{signal.Signals(-code).name}: memory, or a broken decoder" if code < 0 else f"exit code {code}"

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        if self.process.stdin is not None:
            self.process.stdin.close()
        self.pipe.close()


def _memory_limit(count: int) -> int:
    import psutil

    return max(LEAST_MEMORY, int(MEMORY_SHARE * psutil.virtual_memory().total / max(1, count)))


def serve() -> None:
    """Be one of the processes: answer calls until the other side is gone."""
    pipe = Connection(int(sys.argv[2]))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_the_parent, daemon=True).start()
    _limit_memory(int(sys.argv[3]))
    while True:
        try:
            task = pipe.recv_bytes()
        except (EOFError, OSError):
            return
        _send(pipe, *_outcome(task))


def _outcome(task: bytes) -> tuple[bool, Any]:
    """Whether a call returned, and what; or what it raised."""
    try:
        function, args, kwargs = pickle.loads(task)
        return True, function(*args, **kwargs)
    except (HearError, MemoryError) as error:
        return False, error
    except Exception as error:  # a decoder may raise anything on a bad file
        return False, HearError(f"{type(error).__name__}: {' '.join(str(error).split())}")


def _send(pipe: Connection, ok: bool, value: Any) -> None:
    """Send an outcome; arrays go as they lie, since a copy of a long song may be more than this process may take."""
    buffers: list[pickle.PickleBuffer] = []
    data = pickle.dumps((ok, value), protocol=5, buffer_callback=buffers.append)
    raw = [buffer.raw() for buffer in buffers]
    pipe.send_bytes(pickle.dumps((data, [part.nbytes for part in raw])))
    for part in raw:
        pipe.send_bytes(part)


def _end_with_the_parent() -> None:
    """A parent that was killed closes no pipe of a child that is busy."""
    sys.stdin.buffer.read()
    os._exit(1)


def _limit_memory(size: int) -> None:
    """Let this process take so many bytes more than the modules take that are loaded already."""
    import resource

    import psutil

    taken = psutil.Process().memory_info().vms
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    wanted = taken + size
    resource.setrlimit(resource.RLIMIT_AS, (wanted if hard == resource.RLIM_INFINITY else min(wanted, hard), hard))
