"""A process of its own that reads an HDF5 file: on a damaged one HDF5's library may loop for ever, crash, or take all
memory, and cannot be interrupted. Then it is ended, and this program says so.

The process writes lines of JSON to its standard output, each followed by the arrays that it announces.
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

# Seconds of computing for one object: gigabytes take a few. Waiting for a disk or a network does not count.
PATIENCE = 30.0
# Bytes of memory, beside two copies of the largest record.
MEMORY = 2 << 30
# The caller's own main script is left alone, and a module of the folder that it runs in is not taken for Python's.
_BEGIN = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from store.upkeep.hdf5_process import serve; serve()"


def read_apart(path: str | Path) -> Generator[Message, None, None]:
    """As `read_hdf5`, in a process of its own, which ends with this generator.

    Raises
    ------
    StoreError
        As `read_hdf5`; or HDF5's library crashed or did not come to an end.
    """
    places = json.dumps([str(place) for place in sys.path])
    try:
        process = subprocess.Popen(
            [sys.executable, "-P", "-c", _BEGIN, places, str(path), str(PATIENCE), str(MEMORY)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            # Plug-ins are programs that a file may ask for.
            env={**os.environ, "HDF5_PLUGIN_PRELOAD": "::", "OPENBLAS_NUM_THREADS": "1"},
            # Ctrl-C reaches the whole group of the terminal; this process ends the other one.
            process_group=0,
        )
    except (OSError, ValueError) as error:
        raise StoreError(f"{path}: cannot be read as HDF5: a process for it could not be started: {error}") from error
    assert process.stdout is not None  # it is a pipe
    try:
        yield from _messages(process.stdout)
        if process.wait():
            raise StoreError(f"{path}: cannot be read as HDF5: {_how(process.returncode)}; the file is damaged")
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def _messages(pipe: IO[bytes]) -> Iterator[Message]:
    """What came whole."""
    while (line := pipe.readline()).endswith(b"\n"):
        header: dict[str, Any] = json.loads(line)
        if "error" in header:
            raise StoreError(header["error"])
        arrays = [np.empty(shape, dtype) for dtype, shape in header.pop("arrays")]
        if any(pipe.readinto(array.reshape(-1).view(np.uint8)) != array.nbytes for array in arrays):  # type: ignore[attr-defined]
            return
        yield header, arrays


def _how(code: int) -> str:
    if code == -signal.SIGPROF:
        return f"HDF5's library did not come to an end in {PATIENCE:g} s at one object"
    return f"HDF5's library died ({signal.Signals(-code).name if code < 0 else f'exit code {code}'})"


def serve() -> None:
    """Be the process: read the file that the command line names."""
    path, patience, memory = sys.argv[2], float(sys.argv[3]), int(sys.argv[4])
    # What libraries print must not come between the messages.
    pipe = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    _limit_memory(memory)
    signal.signal(signal.SIGPROF, signal.SIG_DFL)  # whoever began this process may ignore it

    def alive() -> None:
        # The library holds Python's lock while it loops: the system ends this process, without Python.
        signal.setitimer(signal.ITIMER_PROF, patience)

    # A reader that has gone needs no more.
    with suppress(BrokenPipeError):
        try:
            for header, arrays in read_hdf5(path, alive=alive):
                if "largest" in header:
                    _limit_memory(memory + 2 * header["largest"])
                _send(pipe, header, arrays)
        except StoreError as error:
            _send_line(pipe, {"error": str(error)})
    # HDF5 has closed the file; Python's own end would flush a pipe that may be gone.
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
    """Let this process take so much, where the system has such a limit."""
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_AS, (size if hard == resource.RLIM_INFINITY else min(size, hard), hard))
