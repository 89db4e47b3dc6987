"""Run functions in child processes that can be killed. Untrusted files are decoded there.

Each call has a time limit and each process a memory limit. A decoder that crashes, hangs or runs out of memory fails
its own call and no other. Results do not depend on the number of processes.

Arrays are handed over in shared memory without a name: the sender writes them to a file in memory and sends its
descriptor, and the receiver maps it. The system frees this memory when no process uses it, also after a kill.
"""

import errno
import json
import os
import pickle
import queue
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from mmap import mmap
from typing import IO, Any, Concatenate, ParamSpec, Self, TypeVar

from stages.common.machine import memory_limit
from store.errors import HearError

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")

# The share of memory for all processes together, and the least for each of them.
MEMORY_SHARE, LEAST_MEMORY = 0.5, 2 << 30
# Bytes of the length in front of each message.
_LENGTH = 8
# Arrays begin at multiples of this many bytes, so that they are aligned for any instruction.
_ALIGNMENT = 64
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
        with self._borrowed() as worker, worker.within(seconds) as deadline:
            worker.channel.send((False, function, args, kwargs), deadline)
            ok, outcome = worker.channel.receive(deadline).value()
        if ok:
            return outcome  # type: ignore[no-any-return]
        raise outcome

    def stream(
        self,
        seconds: float,
        function: Callable[Concatenate[Iterable[T], P], Iterator[R]],
        items: Iterable[T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> Iterator[R]:
        """Run a module-level generator function in one process, and yield its results.

        `function(items, ...)` must yield one result per item. Items are taken one by one, each a result before it is
        needed, so that the process need not wait for this one.

        Parameters
        ----------
        seconds
            Time limit for each result, from the moment when it is requested. The first one includes what the function
            does before its first result.

        Raises
        ------
        LostProcessError, HearError, MemoryError
            See `call`. The remaining results are lost.
        """
        with self._borrowed() as worker:
            worker.send((True, function, args, kwargs), seconds)
            requested = 0
            for item in items:
                worker.send((item,), seconds)
                requested += 1
                if requested > 1:
                    yield worker.result(seconds)
            worker.send(None, seconds)
            if requested:
                yield worker.result(seconds)

    @contextmanager
    def _borrowed(self) -> "Iterator[_Worker]":
        """A worker of the caller's own. If an exception is raised meanwhile, its process is ended."""
        worker = self._free.get()
        healthy = False
        try:
            try:
                worker = worker or self._start()
            except OSError as error:
                raise LostProcessError(f"could not be started: {error.strerror}") from error
            yield worker
            healthy = True
        finally:
            if worker is not None and not healthy:
                self._end(worker)
            self._free.put(worker if healthy else None)

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

    def send(self, message: Any, seconds: float) -> None:
        with self.within(seconds) as deadline:
            self.channel.send(message, deadline)

    def result(self, seconds: float) -> Any:
        with self.within(seconds) as deadline:
            ok, outcome = self.channel.receive(deadline).value()
        if ok:
            return outcome
        raise outcome

    @contextmanager
    def within(self, seconds: float) -> Iterator[float]:
        """The deadline for sending and receiving, as the process may hang in either."""
        try:
            yield time.monotonic() + seconds
        except TimeoutError as error:
            raise LostProcessError(f"took longer than {seconds:.4g} s and was ended") from error
        except OSError as error:
            raise LostProcessError(f"died ({self._exit_reason()})") from error

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

    data: bytes | bytearray
    arrays: list[memoryview]

    def value(self) -> Any:
        return pickle.loads(self.data, buffers=self.arrays)


class _Channel:
    """Sends and receives values over a socket. Deadlines are in seconds of `time.monotonic`, None for no deadline.

    A value is sent as a pickle and the sizes of its arrays, which are in shared memory: a copy of a long song might
    exceed the memory limit of a process.

    Raises
    ------
    TimeoutError
        The deadline has passed.
    OSError
        The connection is closed, or `send` cannot write the arrays.
    LostProcessError
        This process has too many open files to receive arrays.
    """

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection

    def send(self, value: Any, deadline: float | None = None) -> None:
        buffers: list[pickle.PickleBuffer] = []
        data = pickle.dumps(value, protocol=5, buffer_callback=buffers.append)
        arrays = [buffer.raw() for buffer in buffers]
        head = pickle.dumps((data, [array.nbytes for array in arrays]))
        with _in_shared_memory(arrays) as files:
            self._wait_until(deadline)
            socket.send_fds(self._socket, [len(head).to_bytes(_LENGTH)], [file.fileno() for file in files])
            self._wait_until(deadline)
            self._socket.sendall(head)

    def receive(self, deadline: float | None = None) -> _Message:
        self._wait_until(deadline)
        start, descriptors, _, _ = socket.recv_fds(self._socket, _LENGTH, 1)
        try:
            if not start:
                raise ConnectionResetError
            length = int.from_bytes(start + self._bytes(_LENGTH - len(start), deadline))
            data, sizes = pickle.loads(self._bytes(length, deadline))
            return _Message(data, _mapped(descriptors, sizes))
        finally:
            for descriptor in descriptors:
                os.close(descriptor)

    def close(self) -> None:
        self._socket.close()

    def _bytes(self, size: int, deadline: float | None) -> bytearray:
        buffer = bytearray(size)
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


@contextmanager
def _in_shared_memory(arrays: Sequence[memoryview]) -> Iterator[list[IO[bytes]]]:
    """Write arrays to one file without a name, in memory if possible; no file without bytes."""
    if not any(array.nbytes for array in arrays):
        yield []
        return
    with (
        os.fdopen(os.memfd_create("arrays"), "wb") if hasattr(os, "memfd_create") else tempfile.TemporaryFile() as file
    ):
        for start, array in zip(_starts([array.nbytes for array in arrays]), arrays, strict=False):
            file.seek(start)
            file.write(array)
        file.flush()
        yield [file]


def _mapped(descriptors: Sequence[int], sizes: Sequence[int]) -> list[memoryview]:
    """The arrays of a file in shared memory."""
    if not any(sizes):
        return [memoryview(bytearray()) for _ in sizes]
    *starts, end = _starts(sizes)
    try:
        if not descriptors:  # the system drops a descriptor that exceeds the limit of open files
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        memory = memoryview(mmap(descriptors[0], end))
    except OSError as error:
        if error.errno in (errno.EMFILE, errno.ENFILE):
            raise LostProcessError(
                "has a result, but too many files are open; raise their limit (ulimit -n)"
            ) from error
        raise MemoryError from error
    return [memory[start : start + size] for start, size in zip(starts, sizes, strict=True)]


def _starts(sizes: Sequence[int]) -> list[int]:
    """Where each array begins in a file, and where the last one ends."""
    starts, end = [], 0
    for size in sizes:
        starts.append(-(-end // _ALIGNMENT) * _ALIGNMENT)
        end = starts[-1] + size
    return [*starts, end]


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
        for outcome in _outcomes(task, channel):
            try:
                channel.send(outcome)
            except OSError as error:  # no space for its arrays; if the connection is closed, sending fails again
                channel.send((False, HearError(f"cannot hand over its result: {error.strerror}")))


def _outcomes(task: _Message, channel: _Channel) -> Iterator[tuple[bool, Any]]:
    """True and each result of a call or stream, or False and its exception."""
    try:
        is_stream, function, args, kwargs = task.value()
        if is_stream:
            yield from ((True, result) for result in function(_items(channel), *args, **kwargs))
        else:
            yield True, function(*args, **kwargs)
    except (HearError, MemoryError) as error:
        yield False, error
    except Exception as error:  # a decoder may raise anything on a bad file
        yield False, HearError(f"{type(error).__name__}: {' '.join(str(error).split())}")


def _items(channel: _Channel) -> Iterator[Any]:
    while (message := channel.receive().value()) is not None:
        yield message[0]


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
