"""Dask workers on this machine: each is a process, begun again when it is lost, that ends with the command.

Dask's own way to begin them makes named semaphores, which stay in /dev/shm when a run is killed.
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

# Seconds for a worker to go when it is asked to; and until one that was lost is begun again.
CLOSE_SECONDS, AGAIN_SECONDS = 2.0, 0.5
# Starts in a row that may fail, as when memory is short for a moment.
TRIES = 3
_BEGIN = """
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
    """While open, keep `count` workers of one thread each at the scheduler of this address.

    What it gives tells whether one of them cannot be started, and was given up.
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
    """Keeps one worker: a thread begins its process and waits for it, over and over."""

    def __init__(self, address: str) -> None:
        self._command = [sys.executable, "-c", _BEGIN, json.dumps([str(place) for place in sys.path]), address]
        self._lock = threading.Lock()
        self._ending = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        self.given_up = False
        self._thread = threading.Thread(target=self._keep, name="worker", daemon=True)
        self._thread.start()

    def _keep(self) -> None:
        # What this thread begins never hears Ctrl-C: the command decides what is finished.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        failed = 0
        while failed < TRIES and self._begin():
            assert self._process is not None
            with self._process:
                # A worker that was killed ends by a signal; one that is closed, with 0.
                failed = failed + 1 if self._process.wait() > 0 else 0
            self._ending.wait(AGAIN_SECONDS)
        self.given_up = not self._ending.is_set()

    def _begin(self) -> bool:
        with self._lock:
            if self._ending.is_set():
                return False
            # The pipe tells the process that this one is gone, however it went.
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
    """What Dask sets for its workers, such as one thread each; what the user has set wins."""
    import dask

    ours = dask.config.get("distributed.nanny.pre-spawn-environ")
    return {**{name: str(value) for name, value in ours.items() if value is not None}, **users_environment()}


def serve() -> None:
    """Be a worker, until the command closes it or is gone."""
    threading.Thread(target=end_with_the_parent, daemon=True).start()
    asyncio.run(_serve(sys.argv[2]))
    # Not before: its threads may be in a song that nobody waits for.
    os._exit(0)


async def _serve(address: str) -> None:
    from distributed import Worker

    async with Worker(address, nthreads=1, memory_limit=0, dashboard=False) as worker:
        close = lambda: asyncio.ensure_future(worker.close(executor_wait=False))  # noqa: E731
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, close)
        await worker.finished()
