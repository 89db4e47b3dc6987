"""Silence for decoders in C, whose remarks on stderr name no file; what matters of them comes back as an error."""

import os
from collections.abc import Iterator
from contextlib import contextmanager


def silence_stderr() -> None:
    """Drop from now on what this process writes to file descriptor 2."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    os.close(nowhere)


@contextmanager
def silenced() -> Iterator[None]:
    """The same while open; for a process in which no other thread has anything to say meanwhile."""
    kept = os.dup(2)
    silence_stderr()
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
