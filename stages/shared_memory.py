"""Room in /dev/shm, where locks between processes and what they share lie; a container has 64 MB of it by default."""

import shutil

# What the locks of some processes take, and a little more.
LEAST_SHARED = 1 << 18


def shared_free() -> float:
    """Bytes that are free in /dev/shm; infinite where the system does not tell."""
    try:
        return shutil.disk_usage("/dev/shm").free
    except OSError:
        return float("inf")
