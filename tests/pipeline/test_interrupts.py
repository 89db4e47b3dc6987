"""The second Ctrl-C or SIGTERM ends a command at once, also in a computation of a library."""

import signal
import subprocess
import sys
import time
from typing import Any

import pytest

# An idle machine takes 0.1 s.
SECONDS = 10.0

# A command inside a library, which does not handle Python's signals, with child processes.
COMMAND = """
import signal, subprocess, sys, threading, time
import numpy as np
from pipeline.cli import entry
from stages.common.processes import Processes

def app(prog_name):
    processes = Processes(1)
    processes.call(60.0, int)
    threading.Thread(target=processes.call, args=(600.0, time.sleep, 600.0)).start()
    subprocess.Popen(["sleep", "600"])
    matrix = np.random.default_rng(0).random((6000, 6000))
    {first}
    print("at work", flush=True)
    {work}

sys.modules["pipeline.cli.data"] = type(sys)("data")
sys.modules["pipeline.cli.data"].app = app
entry.run("data")
"""
IN_A_LIBRARY = "np.linalg.svd(matrix)"
ASKED = "signal.signal(signal.SIGTERM, lambda *_: None)"  # like hear-extract, which finishes its current views


@pytest.mark.parametrize(
    ("first", "number"),
    [("pass", signal.SIGINT), (ASKED, signal.SIGTERM)],
)
def test_the_second_signal_ends_a_command_and_its_processes(
    start_process: Any, family: Any, first: str, number: signal.Signals
) -> None:
    code = COMMAND.format(first=first, work=IN_A_LIBRARY)
    process = start_process([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "at work\n"
    relatives = family(process.pid)
    assert len(relatives.living()) == 3
    time.sleep(0.2)  # until it is in the library
    process.send_signal(number)
    with pytest.raises(subprocess.TimeoutExpired, match="timed out"):
        process.wait(0.3)  # the first is left to the command
    process.send_signal(number)
    assert process.wait(SECONDS) == 128 + number
    assert relatives.is_gone(SECONDS)
    assert process.stderr.read().splitlines()[-1] == "hear-data: interrupted"


def test_two_signals_end_a_command_that_blocks_all_threads(start_process: Any, family: Any) -> None:
    """As while a large library is loaded from a cold disk."""
    code = COMMAND.format(first="pass", work="sum(range(10**12))").replace('"sleep", "600"', '"true"')
    process = start_process([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "at work\n"
    time.sleep(0.2)
    relatives = family(process.pid)
    for _ in range(2):
        process.send_signal(signal.SIGINT)
        time.sleep(0.2)
    assert process.wait(SECONDS) == -signal.SIGINT
    assert relatives.is_gone(SECONDS)


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGKILL])
def test_a_closed_terminal_and_a_kill_leave_no_process(start_process: Any, family: Any, number: signal.Signals) -> None:
    code = COMMAND.format(first="pass", work="threading.Event().wait()").replace('"sleep", "600"', '"true"')
    process = start_process([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout.readline() == "at work\n"
    process.send_signal(number)
    process.wait(SECONDS)
    assert family(process.pid).is_gone(SECONDS)
