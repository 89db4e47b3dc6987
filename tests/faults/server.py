"""Runs commands in forks of one process with all modules imported, so that hundreds of runs take seconds.

Reads one JSON request per line, {"command", "arguments", "output", "seconds"}; answers with one line, the exit status.
No code of torch runs before a fork, so no lock is held and no thread is lost.
"""

import json
import os
import signal
import sys
import threading
from contextlib import suppress

import audiomentations  # noqa: F401
import h5py  # noqa: F401
import soundfile  # noqa: F401
import torch._dynamo  # noqa: F401

import stages.extract.encoders
import stages.extract.worker
import stages.head.training.train  # noqa: F401
from pipeline.cli import entry
from stages.extract import estimate

# The estimate of disk space reads durations in a subprocess, whose start takes longer than everything else here.
estimate.durations = lambda paths, processes, progress: [2.0 for _ in paths]


def run(request):
    """Run the command, in a fork."""
    output = os.open(request["output"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.setsid()
    sys.argv = [f"hear-{request['command']}", *request["arguments"]]
    code = 0
    try:
        entry.run(request["command"])
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        sys.excepthook(*sys.exc_info())
        code = 99
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


def answer(line):
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main():
    """Answer requests until the input ends."""
    answer("ready")
    for line in sys.stdin:
        request = json.loads(line)
        child = os.fork()
        if not child:
            run(request)
        timer = threading.Timer(request["seconds"], os.kill, (child, signal.SIGKILL))
        timer.start()
        _, status = os.waitpid(child, 0)
        timer.cancel()
        timer.join()
        answer(os.waitstatus_to_exitcode(status))


main()
