"""Calls in child processes: if a process fails, only its own call fails."""

import importlib
import math
import operator
import os
import resource
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from stages.common import processes
from stages.common.processes import LostProcessError, Processes
from stages.extract.audio.reading import AudioError, probe_seconds
from store.errors import HearError

LONG = 60.0


@pytest.fixture
def pool() -> Iterator[Processes]:
    with Processes(2) as pool:
        yield pool


def test_calls_return_results_and_raise_errors(pool: Processes, tmp_path: Path) -> None:
    assert pool.call(LONG, operator.add, 2, 3) == 5
    with pytest.raises(AudioError, match="cannot be read: No such file"):
        pool.call(LONG, probe_seconds, tmp_path / "none.wav")
    with pytest.raises(HearError, match=r"^ValueError: (math domain error|expected a nonnegative input)"):
        pool.call(LONG, math.sqrt, -1.0)
    assert pool.call(LONG, os.getpid) != os.getpid()


@pytest.mark.parametrize(
    ("seconds", "function", "args", "problem"),
    [
        (0.2, time.sleep, (60,), r"^took longer than 0\.2 s and was ended"),
        (LONG, os.abort, (), r"^died \(SIGABRT: memory, or a broken decoder\)"),
        (LONG, os._exit, (3,), r"^died \(exit code 3\)"),
    ],
)
def test_a_lost_process_fails_only_its_call(
    pool: Processes, seconds: float, function: Callable[..., Any], args: tuple[Any, ...], problem: str
) -> None:
    with ThreadPoolExecutor(2) as threads:
        # First a call in either process, so that both have started: the time limit is for work, not for starting.
        list(threads.map(lambda _: pool.call(LONG, time.sleep, 0.3), range(2)))
        beside = threads.submit(pool.call, LONG, time.sleep, 0.5)
        with pytest.raises(LostProcessError, match=problem):
            pool.call(seconds, function, *args)
        assert beside.result() is None
    assert pool.call(LONG, operator.add, 1, 1) == 2


def test_streams_take_items_one_result_ahead(pool: Processes) -> None:
    taken = []

    def items(*values: Any) -> Iterator[Any]:
        for value in values:
            taken.append(value)
            yield value

    assert list(pool.stream(LONG, accumulate, items())) == []
    assert list(pool.stream(LONG, accumulate, items(1, 2, 3), initial=None)) == [1, 3, 6]
    taken.clear()
    results = pool.stream(LONG, accumulate, items(1, 2, "a", 4))
    assert (next(results), taken) == (1, [1, 2])
    assert (next(results), taken) == (3, [1, 2, "a"])
    with pytest.raises(HearError, match=r"^TypeError: unsupported operand"):
        next(results)
    assert pool.call(LONG, operator.add, 1, 1) == 2


def test_a_stream_that_is_given_up_ends_its_process() -> None:
    with Processes(1) as pool:
        process = pool.call(LONG, os.getpid)
        results = pool.stream(LONG, accumulate, [1, 2, 3])
        assert next(results) == 1
        results.close()  # type: ignore[attr-defined]
        assert pool.call(LONG, os.getpid) != process
    assert not psutil.pid_exists(process)


def test_too_many_open_files_are_the_reason_of_a_lost_result() -> None:
    with Processes(1) as pool:
        assert len(pool.call(LONG, np.zeros, 3)) == 3
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        # Open files stay open; no new one can be opened.
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, limits[1]))
        try:
            with pytest.raises(LostProcessError, match="was ended: too many files are open; raise their limit"):
                pool.call(LONG, np.zeros, 3)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        assert len(pool.call(LONG, np.zeros, 3)) == 3


def test_memory_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "MEMORY_SHARE", 0.0)
    monkeypatch.setattr(processes, "LEAST_MEMORY", 200_000_000)
    with Processes(1) as pool:
        assert len(pool.call(LONG, bytes, 50_000_000)) == 50_000_000
        with pytest.raises(MemoryError):
            pool.call(LONG, bytes, 400_000_000)
        assert pool.call(LONG, operator.add, 1, 1) == 2


def test_results_are_not_copied_in_the_child(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "MEMORY_SHARE", 0.0)
    monkeypatch.setattr(processes, "LEAST_MEMORY", 300_000_000)
    with Processes(1) as pool:
        values = pool.call(LONG, np.zeros, 25_000_000)
        assert values.nbytes == 200_000_000
        values[0] = 1  # it is the caller's own
        assert not values[1:].any()


def test_close_ends_waiting_calls() -> None:
    pool = Processes(1)
    threading.Timer(0.5, pool.close).start()
    begun = time.monotonic()
    for _ in range(2):  # the closed one, and one that comes too late
        with pytest.raises(LostProcessError, match=r"^died|was not started"):
            pool.call(LONG, time.sleep, LONG)
    assert time.monotonic() - begun < LONG / 2


SCRIPT = """
import sys, time
from stages.common.processes import Processes
pool = Processes(1)
print(pool.call(60, __import__("os").getpid), flush=True)
pool.call(60, time.sleep, 60)
"""


def test_killed_scripts_leave_no_child_process(start_process: Any, tmp_path: Path) -> None:
    """A script without `if __name__ == "__main__"` is not run again by its processes."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT, encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    process = start_process([sys.executable, str(script)], stdout=-1, text=True, env=environment)
    child = int(process.stdout.readline())
    assert psutil.pid_exists(child)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    waited = time.monotonic()
    while psutil.pid_exists(child) and psutil.Process(child).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() - waited < 30
        time.sleep(0.05)


STOPPING = """
import os, signal, sys, threading, time
import numpy as np

def before_long(argument):
    os.kill(os.getpid(), signal.SIGSTOP)

def while_sending(argument):
    threading.Thread(target=stop_while_sending, daemon=True).start()
    return np.ones(100_000_000, np.uint8)

def stop_while_sending():
    main = threading.main_thread().ident
    while sys._current_frames()[main].f_code.co_name != "_in_shared_memory":
        time.sleep(0.0005)
    time.sleep(0.005)
    os.kill(os.getpid(), signal.SIGSTOP)

def length(argument):
    return len(argument)
"""


@pytest.mark.parametrize(
    ("function", "argument", "stop_first", "seconds"),
    [
        ("length", b"", True, 0.3),
        # More than a socket or a pipe holds: sending waits for a process that does not read.
        ("length", bytes(5_000_000), True, 0.3),
        ("before_long", b"", False, 0.3),
        ("while_sending", b"", False, 2.0),
    ],
)
def test_a_suspended_process_fails_only_its_call(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    function: str,
    argument: bytes,
    stop_first: bool,
    seconds: float,
) -> None:
    (tmp_path / "stopping.py").write_text(STOPPING, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    with Processes(1) as pool:
        stopped = pool.call(LONG, os.getpid)
        if stop_first:
            os.kill(stopped, signal.SIGSTOP)
        else:  # imports NumPy, which the time limit need not cover
            pool.call(LONG, np.zeros, 1)
        rescue = threading.Timer(10.0, pool.close)
        rescue.start()
        with pytest.raises(LostProcessError, match=rf"^took longer than {seconds:g} s and was ended"):
            pool.call(seconds, getattr(importlib.import_module("stopping"), function), argument)
        rescue.cancel()
        assert pool.call(LONG, os.getpid) != stopped
    assert not psutil.pid_exists(stopped)
