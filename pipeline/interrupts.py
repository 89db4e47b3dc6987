"""The second Ctrl-C, or SIGTERM, ends a command at once, whatever it is doing.

Python handles a signal between two instructions of the main thread, which may be in a long computation of a library, in
the close of a cluster, or in the wait for other threads at the end of the program. So a thread counts signals. The
first is left to the command, which finishes what is in hand, or to Python. At the second the thread ends the processes
that the command began, and then the command. What is stored stays, as it is written atomically.

The thread cannot run while a large library is loaded, which takes seconds from a cold disk, nor when Python ends. So
after the first Ctrl-C, and until the thread has heard of it, the kernel ends the command at the second. The processes
that the command began notice that it is gone.
"""

import ctypes
import os
import signal
import threading
from contextlib import suppress

COUNTED = (signal.SIGINT, signal.SIGTERM)
# Seconds until this process ends even if ending others takes longer.
_LATEST = 1.0
# Progress bars hide the cursor.
_SHOW_CURSOR = "\x1b[?25h"


class _Watch:
    """Counts signals of one command, and ends it at the second."""

    def __init__(self, command: str) -> None:
        self.command = command
        self.count = 0
        read, write = os.pipe()
        os.set_blocking(write, False)
        # Python's handlers in C write each signal's number there as it comes, whatever the main thread does.
        signal.set_wakeup_fd(write, warn_on_full_buffer=False)
        threading.Thread(target=self._look, args=(read,), name="interrupts", daemon=True).start()
        self._libc, self._interrupts = ctypes.CDLL(None), _handler()
        self._handle_once()

    def _look(self, read: int) -> None:
        while True:
            for number in os.read(read, 64):
                if number in COUNTED:
                    self.count += 1
                    import psutil  # noqa: F401  # at the first, so that the second need not wait for it

                    if self.count >= 2:
                        _end(self.command, number)
                    self._handle_once()

    def _handle_once(self) -> None:
        """Let Python's handler in C take the next SIGINT, and the kernel end this process at the one after."""
        # Not what a command has set meanwhile. C libraries other than GNU's lack this: there, the thread alone counts.
        if _handler() in (signal.SIG_DFL, self._interrupts) and hasattr(self._libc, "sysv_signal"):
            self._libc.sysv_signal(signal.SIGINT, ctypes.c_void_p(self._interrupts))


def _handler() -> int:
    """Address of what handles SIGINT in C; 0 for SIG_DFL and 1 for SIG_IGN."""
    look = ctypes.pythonapi.PyOS_getsig
    look.restype = ctypes.c_void_p
    return look(signal.SIGINT) or 0


_watch: _Watch | None = None


def watch_interrupts(command: str) -> None:
    """Let the second of the signals that come from now on end this process, with 128 and the signal's number.

    Parameters
    ----------
    command
        Its name, for the line that says so.
    """
    global _watch
    if threading.current_thread() is not threading.main_thread():  # signals are not ours
        return
    if _watch is None:
        _watch = _Watch(command)
    _watch.command, _watch.count = command, 0


def _end(command: str, number: int) -> None:
    """End the processes that this one began, and this one."""
    code = 128 + number
    latest = threading.Timer(_LATEST, os._exit, (code,))
    latest.daemon = True
    latest.start()
    with suppress(Exception):
        _end_children()
    with suppress(OSError):
        # Not through sys.stderr, which the main thread may hold.
        os.write(2, f"{_SHOW_CURSOR if os.isatty(2) else ''}\n{command}: interrupted\n".encode())
    os._exit(code)


def _end_children() -> None:
    import psutil

    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            child.kill()
