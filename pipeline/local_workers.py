"""Dask workers on this machine: processes that are restarted when they die, and that end with the command.

Dask's own launcher makes named semaphores, which stay in /dev/shm when a run is killed.
"""

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from stages.common.machine import users_environment
from stages.common.processes import end_with_the_parent

# Seconds for a worker to end when asked; and until a dead one is restarted.
CLOSE_SECONDS, RESTART_SECONDS = 2.0, 0.5
# Failed starts in a row before giving up: memory may be short for a moment.
TRIES = 3
_START = """
import json, sys
sys.path[:] = json.loads(sys.argv[1])
try:
    from pipeline.local_workers import serve
except Exception as error:
    sys.exit(f"worker: {error}")
serve()
"""


@contextmanager
def local_workers(address: str, count: int) -> Iterator[Callable[[], bool]]:
    """While open, keep `count` workers with one thread each connected to the scheduler at this address.

    Yields a function that returns whether a worker could not be started and was given up.
    """
    workers = [_Worker(address) for _ in range(count)]
    try:
        yield lambda: any(worker.given_up for worker in workers)
    finally:
        for worker in workers:
            worker.ask_to_end()
        deadline = time.monotonic() + CLOSE_SECONDS
        for worker in workers:
            worker.end(deadline)


class _Worker:
    """Keeps one worker running: a thread starts its process, waits for its end, and starts it again."""

    def __init__(self, address: str) -> None:
        self._command = [sys.executable, "-c", _START, json.dumps([str(place) for place in sys.path]), address]
        self._lock = threading.Lock()
        self._ending = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        self.given_up = False
        self._thread = threading.Thread(target=self._keep, name="worker", daemon=True)
        self._thread.start()

    def _keep(self) -> None:
        # Processes started by this thread do not get Ctrl-C: the command decides what they finish.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        failed = 0
        while failed < TRIES and self._start():
            assert self._process is not None
            with self._process:
                # A killed worker ends by a signal; a closed one ends with 0.
                failed = failed + 1 if self._process.wait() > 0 else 0
            self._ending.wait(RESTART_SECONDS)
        self.given_up = not self._ending.is_set()

    def _start(self) -> bool:
        with self._lock:
            if self._ending.is_set():
                return False
            # The pipe shows the worker that this process has ended, for any reason.
            self._process = subprocess.Popen(self._command, stdin=subprocess.PIPE, env=_environment())
            return True

    def ask_to_end(self) -> None:
        with self._lock:
            self._ending.set()
            if self._process is not None:
                self._process.terminate()

    def end(self, deadline: float) -> None:
        if self._process is not None:
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(max(0.0, deadline - time.monotonic()))
            self._process.kill()
        self._thread.join(CLOSE_SECONDS)


def _environment() -> dict[str, str]:
    """Dask's settings for its workers, such as one thread each; the user's own settings win."""
    import dask

    ours = dask.config.get("distributed.nanny.pre-spawn-environ")
    return {**{name: str(value) for name, value in ours.items() if value is not None}, **users_environment()}


def serve() -> None:
    """Run a worker until the command closes it or ends."""
    threading.Thread(target=end_with_the_parent, daemon=True).start()
    asyncio.run(_serve(sys.argv[2]))
    # Without waiting for its threads, which may be in a song whose result is no longer needed.
    os._exit(0)


async def _serve(address: str) -> None:
    from distributed import Worker

    async with Worker(address, nthreads=1, memory_limit=0, dashboard=False) as worker:
        close = lambda: asyncio.ensure_future(worker.close(executor_wait=False))  # noqa: E731
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, close)
        await worker.finished()
