"""Runs commands in forks of one process that has imported everything, so that hundreds of runs cost seconds.

Reads one JSON request per line, {"command", "arguments", "output", "seconds"}; answers with one line, the exit status.
"""

import importlib
import json
import os
import signal
import sys
import threading

import audiomentations  # noqa: F401
import soundfile  # noqa: F401
import torch  # noqa: F401
import zarr  # noqa: F401

from pipeline import extraction, prediction  # noqa: F401
from pipeline.cli import entry
from stages.extract import encoders, estimate, feed, worker  # noqa: F401
from stages.head import train  # noqa: F401
from stages.probe import fit  # noqa: F401

for name in ("data", "extract", "head", "head_ablate", "head_predict", "probe", "store"):
    importlib.import_module(f"pipeline.cli.{name}")


def durations(paths, processes, track):
    """Lengths are for the estimate of space alone; the process that reads them takes longer to begin than all else."""
    return [2.0 for _ in track(paths)]


estimate.durations = durations


def run(request):
    """Be the command, in a fork."""
    output = os.open(request["output"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.setsid()
    sys.argv = [f"hear-{request['command']}", *request["arguments"]]
    code = 0
    try:
        getattr(entry, request["command"])()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    except BaseException:
        sys.excepthook(*sys.exc_info())
        code = 99
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            pass
    os._exit(code)


def main():
    """Answer requests until there are no more."""
    print("ready", flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        child = os.fork()
        if not child:
            run(request)
        timer = threading.Timer(request["seconds"], os.killpg, (child, signal.SIGKILL))
        timer.start()
        _, status = os.waitpid(child, 0)
        timer.cancel()
        timer.join()
        print(os.waitstatus_to_exitcode(status), flush=True)


main()
