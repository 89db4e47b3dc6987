"""The second Ctrl-C or SIGTERM ends a command at once.

Python handles a signal between two instructions of the main thread. That thread may be in a long computation of a
library, closing a cluster, or waiting for other threads at the end of the program. So a separate thread counts signals.
The first one is left to the command, which finishes its current work, or to Python. At the second, the thread ends the
processes that the command started, and then the command. Stored data stays intact, because it is written atomically.

The thread cannot run while a large library is loading, which takes seconds from a cold disk, nor while Python exits. So
after the first Ctrl-C, and until the thread has noticed it, the kernel ends the command at the second. The processes
that the command started notice that it has ended.
"""

import ctypes
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

COUNTED = (signal.SIGINT, signal.SIGTERM)
# Seconds until this process ends, even if ending its children takes longer.
_END_WITHIN = 1.0
# Progress bars hide the cursor.
_SHOW_CURSOR = "\x1b[?25h"


class _SignalCounter:
    """Counts the signals to a command, and ends it at the second."""

    def __init__(self, command: str) -> None:
        self.command = command
        self.count = 0
        read, write = os.pipe()
        os.set_blocking(write, False)
        # Python's handlers in C write each signal's number to the pipe at once, even while the main thread is busy.
        signal.set_wakeup_fd(write, warn_on_full_buffer=False)
        threading.Thread(target=self._count, args=(read,), name="interrupts", daemon=True).start()
        self._libc, self._interrupts = ctypes.CDLL(None), _handler()
        self._handle_once()

    def _count(self, read: int) -> None:
        while True:
            for number in os.read(read, 64):
                if number in COUNTED:
                    self.count += 1
                    import psutil  # noqa: F401  # at the first signal, so that the second need not wait for it

                    if self.count >= 2:
                        _end(self.command, number)
                    self._handle_once()

    def _handle_once(self) -> None:
        """Let Python's handler in C take the next SIGINT, and the kernel end this process at the one after."""
        # Unless the command has set its own handler. Only GNU's C library has this; elsewhere the thread alone counts.
        if _handler() in (signal.SIG_DFL, self._interrupts) and hasattr(self._libc, "sysv_signal"):
            self._libc.sysv_signal(signal.SIGINT, ctypes.c_void_p(self._interrupts))


def _handler() -> int:
    """Address of the C handler of SIGINT; 0 for SIG_DFL and 1 for SIG_IGN."""
    look = ctypes.pythonapi.PyOS_getsig
    look.restype = ctypes.c_void_p
    return look(signal.SIGINT) or 0


_counter: _SignalCounter | None = None


def watch_interrupts(command: str) -> None:
    """End this process at the second signal from now on, with exit code 128 plus the signal's number.

    Parameters
    ----------
    command
        Its name, for the line that reports the end.
    """
    global _counter
    if threading.current_thread() is not threading.main_thread():  # only the main thread may set handlers
        return
    if _counter is None:
        _counter = _SignalCounter(command)
    _counter.command, _counter.count = command, 0


@contextmanager
def stops_at_interrupt(stop: threading.Event) -> Iterator[None]:
    """While open, the first Ctrl-C or SIGTERM sets `stop`; a second one ends the process as usual."""

    def first(number: int, frame: object) -> None:
        stop.set()
        signal.signal(number, before[signal.Signals(number)])

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in COUNTED}
    for number in before:
        signal.signal(number, first)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _end(command: str, number: int) -> None:
    """End the children of this process, then this process."""
    code = 128 + number
    timer = threading.Timer(_END_WITHIN, os._exit, (code,))
    timer.daemon = True
    timer.start()
    with suppress(Exception):
        _end_children()
    with suppress(OSError):
        # Not through sys.stderr, which the main thread may have locked.
        os.write(2, f"{_SHOW_CURSOR if os.isatty(2) else ''}\n{command}: interrupted\n".encode())
    os._exit(code)


def _end_children() -> None:
    import psutil

    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            child.kill()
