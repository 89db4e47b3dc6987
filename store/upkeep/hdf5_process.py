"""Reading an HDF5 file in a subprocess: on a damaged file the HDF5 library may loop for ever, crash, or take all
memory, and it cannot be interrupted. The subprocess is then killed, and the error reported.

The subprocess writes lines of JSON to standard output, each followed by the arrays that it announces.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Generator, Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import numpy as np

from store.errors import StoreError
from store.upkeep.hdf5_file import Message, read_hdf5

# CPU seconds for one object: gigabytes take a few. Waiting for a disk or a network does not count.
OBJECT_SECONDS = 30.0
# Bytes of memory, plus two copies of the largest record.
MEMORY = 2 << 30
# Does not run the caller's main script, and does not import modules of the working directory in place of Python's.
_BEGIN = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from store.upkeep.hdf5_process import serve; serve()"


def read_in_subprocess(path: str | Path) -> Generator[Message, None, None]:
    """As `read_hdf5`, in a subprocess, which ends with this generator.

    Raises
    ------
    StoreError
        As `read_hdf5`; or the HDF5 library crashed or did not finish.
    """
    places = json.dumps([str(place) for place in sys.path])
    try:
        process = subprocess.Popen(
            [sys.executable, "-P", "-c", _BEGIN, places, str(path), str(OBJECT_SECONDS), str(MEMORY)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            # A file can ask HDF5 to load plug-ins, which are programs.
            env={**os.environ, "HDF5_PLUGIN_PRELOAD": "::", "OPENBLAS_NUM_THREADS": "1"},
            # Ctrl-C goes to the terminal's whole process group; the subprocess is ended by this process instead.
            process_group=0,
        )
    except (OSError, ValueError) as error:
        raise StoreError(f"{path}: cannot be read as HDF5: cannot start a subprocess: {error}") from error
    assert process.stdout is not None  # it is a pipe
    try:
        yield from _messages(process.stdout)
        if process.wait():
            raise StoreError(f"{path}: cannot be read as HDF5: {_exit_reason(process.returncode)}; the file is damaged")
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def _messages(pipe: IO[bytes]) -> Iterator[Message]:
    """The messages that arrived completely."""
    while (line := pipe.readline()).endswith(b"\n"):
        header: dict[str, Any] = json.loads(line)
        if "error" in header:
            raise StoreError(header["error"])
        arrays = [np.empty(shape, dtype) for dtype, shape in header.pop("arrays")]
        if any(pipe.readinto(array.reshape(-1).view(np.uint8)) != array.nbytes for array in arrays):  # type: ignore[attr-defined]
            return
        yield header, arrays


def _exit_reason(code: int) -> str:
    if code == -signal.SIGPROF:
        return f"the HDF5 library did not finish one object in {OBJECT_SECONDS:g} s"
    return f"the HDF5 library crashed ({signal.Signals(-code).name if code < 0 else f'exit code {code}'})"


def serve() -> None:
    """Run as the subprocess: read the file that the command line names."""
    path, seconds, memory = sys.argv[2], float(sys.argv[3]), int(sys.argv[4])
    # Output of libraries must not mix with the messages.
    pipe = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    _limit_memory(memory)
    signal.signal(signal.SIGPROF, signal.SIG_DFL)  # the parent process may ignore it

    def heartbeat() -> None:
        # HDF5 holds the GIL while it loops: the system's signal ends this process, without Python.
        signal.setitimer(signal.ITIMER_PROF, seconds)

    # The reader may have stopped.
    with suppress(BrokenPipeError):
        try:
            for header, arrays in read_hdf5(path, heartbeat=heartbeat):
                if "largest" in header:
                    _limit_memory(memory + 2 * header["largest"])
                _send(pipe, header, arrays)
        except StoreError as error:
            _send_line(pipe, {"error": str(error)})
    # HDF5 has closed the file. Python's normal exit would flush a pipe that may be closed.
    os._exit(0)


def _send(pipe: IO[bytes], header: dict[str, Any], arrays: list[Any]) -> None:
    _send_line(pipe, {**header, "arrays": [(array.dtype.name, array.shape) for array in arrays]})
    for array in arrays:
        pipe.write(array.reshape(-1).view(np.uint8).data)
    pipe.flush()


def _send_line(pipe: IO[bytes], header: dict[str, Any]) -> None:
    pipe.write(json.dumps(header).encode() + b"\n")
    pipe.flush()


def _limit_memory(size: int) -> None:
    """Limit the memory of this process in bytes, where the system supports it."""
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_AS, (size if hard == resource.RLIM_INFINITY else min(size, hard), hard))
