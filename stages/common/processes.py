"""Functions that run in processes of their own, which can be ended: files from strangers are decoded there.

Each call has a time limit and each process a memory limit. A decoder that crashes, hangs or takes all memory costs its
own call and no other. Results do not depend on the number of processes.
"""

import json
import os
import pickle
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from mmap import mmap
from typing import Any, ParamSpec, Self, TypeVar

from stages.common.machine import memory_limit
from store.errors import HearError

P = ParamSpec("P")
R = TypeVar("R")

# Of this machine's memory, what all processes may take together; each may have the least in any case.
MEMORY_SHARE, LEAST_MEMORY = 0.5, 2 << 30
# Bytes of the length that comes before each message.
_LENGTH = 8
# Seconds that a process which was killed has to go: one that waits for a dead disk does not.
_END_SECONDS = 5.0
# Not `multiprocessing`'s own way to begin a process: that runs the caller's script again, which a script without
# `if __name__ == "__main__"` does not survive, and Dask's workers may not use it.
_BEGIN = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from stages.common.processes import serve; serve()"


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
            How long it may take, with the way there and back; then its process is ended, even one that is stopped.

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
    """One process and the channel to it."""

    process: "subprocess.Popen[bytes]"
    channel: "_Channel"

    @classmethod
    def begin(cls, memory: int) -> "_Worker":
        path = json.dumps([str(place) for place in sys.path])
        ours, theirs = socket.socketpair()
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
        return cls(process, _Channel(ours))

    def ask(self, seconds: float, task: Any) -> tuple[bool, Any]:
        """Send a task and wait for its outcome; both count, as the process may stop at any moment of either."""
        deadline = time.monotonic() + seconds
        try:
            self.channel.send(task, deadline)
            message = self.channel.receive(deadline)
        except TimeoutError as error:
            raise LostProcessError(f"took longer than {seconds:.4g} s and was ended") from error
        except OSError as error:
            raise LostProcessError(f"died ({self._how()})") from error
        return message.value()  # type: ignore[no-any-return]

    def _how(self) -> str:
        try:
            code = self.process.wait(1.0)
        except subprocess.TimeoutExpired:
            return "no reason given"
        return f"{signal.Signals(-code).name}: memory, or a broken decoder" if code < 0 else f"exit code {code}"

    def end(self) -> None:
        self.process.kill()
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(_END_SECONDS)
        if self.process.stdin is not None:
            self.process.stdin.close()
        self.channel.close()


@dataclass(frozen=True)
class _Message:
    """A pickle, and the arrays that it left out."""

    data: bytes
    arrays: list[bytearray | mmap]

    def value(self) -> Any:
        return pickle.loads(self.data, buffers=self.arrays)


class _Channel:
    """Sends and receives values over a socket; each takes a deadline in seconds of `time.monotonic`, None for none.

    A value is its pickle and the sizes of its arrays, pickled, then the arrays as they lie: a copy of a long song may
    be more than a process may take.

    Raises
    ------
    TimeoutError
        The deadline has passed.
    OSError
        The other side is gone.
    """

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection

    def send(self, value: Any, deadline: float | None = None) -> None:
        buffers: list[pickle.PickleBuffer] = []
        data = pickle.dumps(value, protocol=5, buffer_callback=buffers.append)
        raw = [buffer.raw() for buffer in buffers]
        head = pickle.dumps((data, [part.nbytes for part in raw]))
        parts: list[bytes | memoryview] = [len(head).to_bytes(_LENGTH), head, *raw]
        for part in parts:
            self._wait_until(deadline)
            self._socket.sendall(part)

    def receive(self, deadline: float | None = None) -> _Message:
        length = int.from_bytes(self._bytes(_LENGTH, deadline))
        data, sizes = pickle.loads(self._bytes(length, deadline))
        return _Message(data, [self._bytes(size, deadline) for size in sizes])

    def close(self) -> None:
        self._socket.close()

    def _bytes(self, size: int, deadline: float | None) -> bytearray | mmap:
        buffer = _buffer(size)
        with memoryview(buffer) as left:
            begun = 0
            while begun < size:
                self._wait_until(deadline)
                count = self._socket.recv_into(left[begun:])
                if not count:
                    raise ConnectionResetError
                begun += count
        return buffer

    def _wait_until(self, deadline: float | None) -> None:
        """Let what follows wait so long at most."""
        left = None if deadline is None else deadline - time.monotonic()
        if left is not None and left <= 0:
            raise TimeoutError
        self._socket.settimeout(left)


def _buffer(size: int) -> bytearray | mmap:
    """Mapped pages are zero already: those of a bytearray would be filled here, while no other thread runs."""
    try:
        return mmap(-1, size) if size else bytearray()
    except OSError as error:
        raise MemoryError from error


def _memory_limit(count: int) -> int:
    return max(LEAST_MEMORY, int(MEMORY_SHARE * memory_limit() / max(1, count)))


def serve() -> None:
    """Be one of the processes: answer calls until the other side is gone."""
    channel = _Channel(socket.socket(fileno=int(sys.argv[2])))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=end_with_the_parent, daemon=True).start()
    _limit_memory(int(sys.argv[3]))
    while True:
        try:
            task = channel.receive()
        except OSError:
            return
        channel.send(_outcome(task))


def _outcome(task: _Message) -> tuple[bool, Any]:
    """Whether a call returned, and what; or what it raised."""
    try:
        function, args, kwargs = task.value()
        return True, function(*args, **kwargs)
    except (HearError, MemoryError) as error:
        return False, error
    except Exception as error:  # a decoder may raise anything on a bad file
        return False, HearError(f"{type(error).__name__}: {' '.join(str(error).split())}")


def end_with_the_parent() -> None:
    """Wait until the pipe on standard input closes, as when the parent is gone, and end this process.

    For a thread: a busy process would not notice that its parent was killed.
    """
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
