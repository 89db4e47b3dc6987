"""Values sent between two processes over a socket, with arrays in shared memory.

The sender writes arrays to a file in memory without a name and sends its descriptor; the receiver maps it. The system
frees this memory when no process uses it, also after a kill.
"""

import errno
import os
import pickle
import socket
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from mmap import mmap
from typing import IO, Any

# Bytes of the length in front of each message.
_LENGTH = 8
# Arrays begin at multiples of this many bytes, so that they are aligned for any instruction.
_ALIGNMENT = 64


@dataclass(frozen=True)
class Message:
    """A pickle, and the arrays that were taken out of it."""

    data: bytes | bytearray
    arrays: list[memoryview]

    def value(self) -> Any:
        return pickle.loads(self.data, buffers=self.arrays)


class Channel:
    """Sends and receives values over a socket. Deadlines are in seconds of `time.monotonic`, None for no deadline.

    A value is sent as a pickle and the sizes of its arrays, which are in shared memory: a copy of a long song might
    exceed the memory limit of a process.

    Raises
    ------
    TimeoutError
        The deadline has passed.
    OSError
        The connection is closed, `send` cannot write the arrays, or this process has too many open files (EMFILE).
    MemoryError
        There is no room to map received arrays.
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

    def receive(self, deadline: float | None = None) -> Message:
        self._wait_until(deadline)
        start, descriptors, _, _ = socket.recv_fds(self._socket, _LENGTH, 1)
        try:
            if not start:
                raise ConnectionResetError
            length = int.from_bytes(start + self._bytes(_LENGTH - len(start), deadline))
            data, sizes = pickle.loads(self._bytes(length, deadline))
            return Message(data, _mapped(descriptors, sizes))
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
            raise
        raise MemoryError from error
    return [memory[start : start + size] for start, size in zip(starts, sizes, strict=True)]


def _starts(sizes: Sequence[int]) -> list[int]:
    """Where each array begins in a file, and where the last one ends."""
    starts, end = [], 0
    for size in sizes:
        starts.append(-(-end // _ALIGNMENT) * _ALIGNMENT)
        end = starts[-1] + size
    return [*starts, end]
