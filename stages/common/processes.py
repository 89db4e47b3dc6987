"""Run functions in child processes that can be killed. Untrusted files are decoded there.

Each call has a time limit and each process a memory limit. A decoder that crashes, hangs or runs out of memory fails
its own call and no other. Results do not depend on the number of processes.
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

# The share of memory for all processes together, and the least for each of them.
MEMORY_SHARE, LEAST_MEMORY = 0.5, 2 << 30
# Bytes of the length in front of each message.
_LENGTH = 8
# Seconds to wait for a killed process to end. One that waits for a dead disk does not end.
_END_SECONDS = 5.0
# `multiprocessing` runs the caller's script again in each child, which breaks scripts without
# `if __name__ == "__main__"`, and Dask's workers may not use it.
_START = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from stages.common.processes import serve; serve()"


class LostProcessError(HearError):
    """The process of a call died or was killed. The message is a verb phrase, such as `died (exit code 1)`."""


class Processes:
    """Runs functions in processes that start when they are first needed. Thread-safe.

    Parameters
    ----------
    count
        Maximum number of processes, and so of concurrent calls; further calls wait.
    """

    def __init__(self, count: int) -> None:
        self._free: queue.LifoQueue[_Worker | None] = queue.LifoQueue()
        for _ in range(count):
            self._free.put(None)
        self._memory = _memory_limit(count)
        self._lock = threading.Lock()
        self._alive: set[_Worker] = set()
        self._closed = False
        # Ends the processes even if `close` is never called, as in a notebook.
        weakref.finalize(self, _end_all, self._alive)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    def call(self, seconds: float, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run a module-level function and return its result. Arguments and result are pickled.

        Parameters
        ----------
        seconds
            Time limit, including the transfer of arguments and result. Then the process is killed, even if suspended.

        Raises
        ------
        LostProcessError
            The process died, took too long, or `close` was called.
        HearError, MemoryError
            Raised by the function; any other exception becomes a HearError with its type and message.
        """
        worker = self._free.get()
        healthy = False
        try:
            try:
                worker = worker or self._start()
            except OSError as error:
                raise LostProcessError(f"could not be started: {error.strerror}") from error
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
        # A worker that is in a call is ended by the call's thread, which reads from its channel.
        idle = []
        with suppress(queue.Empty):
            while True:
                idle.append(self._free.get_nowait())
        for each in idle:
            if each is not None:
                self._end(each)
            self._free.put(None)

    def _start(self) -> "_Worker":
        with self._lock:
            if self._closed:
                raise LostProcessError("was not started: its run has ended")
            worker = _Worker.start(self._memory)
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
    def start(cls, memory: int) -> "_Worker":
        path = json.dumps([str(place) for place in sys.path])
        ours, theirs = socket.socketpair()
        with theirs:
            process = subprocess.Popen(
                [sys.executable, "-c", _START, path, str(theirs.fileno()), str(memory)],
                # The child exits when this pipe closes, however the parent ended.
                stdin=subprocess.PIPE,
                # Decoders in C print remarks without a file name.
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                # Ctrl-C reaches the whole process group of the terminal; the parent decides when a child ends.
                process_group=0,
            )
        return cls(process, _Channel(ours))

    def ask(self, seconds: float, task: Any) -> tuple[bool, Any]:
        """Send a task and wait for its outcome. The deadline covers both, as the process may hang in either."""
        deadline = time.monotonic() + seconds
        try:
            self.channel.send(task, deadline)
            message = self.channel.receive(deadline)
        except TimeoutError as error:
            raise LostProcessError(f"took longer than {seconds:.4g} s and was ended") from error
        except OSError as error:
            raise LostProcessError(f"died ({self._exit_reason()})") from error
        return message.value()  # type: ignore[no-any-return]

    def _exit_reason(self) -> str:
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
    """A pickle, and the arrays that were taken out of it."""

    data: bytes
    arrays: list[bytearray | mmap]

    def value(self) -> Any:
        return pickle.loads(self.data, buffers=self.arrays)


class _Channel:
    """Sends and receives values over a socket. Deadlines are in seconds of `time.monotonic`, None for no deadline.

    A value is sent as a pickle and the sizes of its arrays, followed by the arrays' raw bytes: a copy of a long song
    might exceed the memory limit of a process.

    Raises
    ------
    TimeoutError
        The deadline has passed.
    OSError
        The connection is closed.
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
        with memoryview(buffer) as view:
            done = 0
            while done < size:
                self._wait_until(deadline)
                count = self._socket.recv_into(view[done:])
                if not count:
                    raise ConnectionResetError
                done += count
        return buffer

    def _wait_until(self, deadline: float | None) -> None:
        """Set the socket's timeout to the time left until the deadline."""
        left = None if deadline is None else deadline - time.monotonic()
        if left is not None and left <= 0:
            raise TimeoutError
        self._socket.settimeout(left)


def _buffer(size: int) -> bytearray | mmap:
    """An empty buffer. Mapped pages are zero already; filling a bytearray would block all other threads."""
    try:
        return mmap(-1, size) if size else bytearray()
    except OSError as error:
        raise MemoryError from error


def _memory_limit(count: int) -> int:
    return max(LEAST_MEMORY, int(MEMORY_SHARE * memory_limit() / max(1, count)))


def serve() -> None:
    """Run a child process: answer calls until the connection is closed."""
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
    """True and the result of a call, or False and its exception."""
    try:
        function, args, kwargs = task.value()
        return True, function(*args, **kwargs)
    except (HearError, MemoryError) as error:
        return False, error
    except Exception as error:  # a decoder may raise anything on a bad file
        return False, HearError(f"{type(error).__name__}: {' '.join(str(error).split())}")


def end_with_the_parent() -> None:
    """Wait until the pipe on standard input closes, as when the parent has ended, and end this process.

    Runs in a thread, because a busy process would not notice that its parent was killed.
    """
    sys.stdin.buffer.read()
    os._exit(1)


def _limit_memory(size: int) -> None:
    """Limit this process to `size` bytes beyond the memory that its loaded modules use."""
    import resource

    import psutil

    taken = psutil.Process().memory_info().vms
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    wanted = taken + size
    resource.setrlimit(resource.RLIMIT_AS, (wanted if hard == resource.RLIM_INFINITY else min(wanted, hard), hard))
