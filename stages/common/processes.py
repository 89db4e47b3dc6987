"""Run functions in child processes that can be killed. Untrusted files are decoded there.

Each call has a time limit and each process a memory limit. A decoder that crashes, hangs or runs out of memory fails
its own call and no other. Results do not depend on the number of processes.
"""

import errno
import json
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

from stages.common.channel import Channel, Message
from stages.common.machine import memory_limit
from store.errors import HearError

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")

# The share of memory for all processes together, and the least for each of them.
MEMORY_SHARE, LEAST_MEMORY = 0.5, 2 << 30
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
    channel: "Channel"

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
        return cls(process, Channel(ours))

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
            if error.errno in (errno.EMFILE, errno.ENFILE):
                raise LostProcessError("was ended: too many files are open; raise their limit (ulimit -n)") from error
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


def _memory_limit(count: int) -> int:
    return max(LEAST_MEMORY, int(MEMORY_SHARE * memory_limit() / max(1, count)))


def serve() -> None:
    """Run a child process: answer calls until the connection is closed."""
    channel = Channel(socket.socket(fileno=int(sys.argv[2])))
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


def _outcomes(task: Message, channel: Channel) -> Iterator[tuple[bool, Any]]:
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


def _items(channel: Channel) -> Iterator[Any]:
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
