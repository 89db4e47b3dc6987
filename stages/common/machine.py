"""CPU cores and memory that this process may use, by its affinity and its control groups.

A container, or a systemd unit with a quota, may use less than the machine has. The limits of a control group apply to
all groups within it, so every group up to the root counts.
"""

import math
import os
from collections.abc import Iterator
from pathlib import Path

# Where Linux mounts control groups, and where it lists the groups of this process.
CGROUPS, MEMBERSHIP = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")
# Where devices are: nvidia0, nvidia1, …; dxg is the GPU of Windows in its Linux.
DEVICES = Path("/dev")
# If the user has set one of these, it decides how threads wait.
WAITING = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME", "KMP_LIBRARY")
THREADS = "OMP_NUM_THREADS"
# Variables that were set here because of a quota, not by the user.
_for_quota: set[str] = set()


def count_cores() -> int:
    """CPU cores that this process may use, at least 1; a quota is rounded up."""
    quotas = [_quota(folder) for folder in _groups("cpu")]
    return max(1, math.ceil(min([_affinity(), *quotas])))


def memory_limit() -> int:
    """Bytes of main memory for this process and its siblings: the machine's memory, or less in a container."""
    import psutil

    limits = [
        _numbers(folder / name)[0] for folder in _groups("memory") for name in ("memory.max", "memory.limit_in_bytes")
    ]
    return int(min([psutil.virtual_memory().total, *limits]))


def default_readers(workers: int = 1) -> int:
    """Processes that prepare songs for each of `workers` encoders here: all cores but two beside a GPU, else at most 8.

    For 3.5 minutes of audio, encoders on a CPU take 59 core-seconds and the preparation 0.7. There, more than one
    reader only helps the tiny encoders and the search for lengths; readers without work use no core.
    """
    cores = count_cores()
    return max(1, (cores - 2 if has_gpu() else min(8, cores - 1)) // workers)


def has_gpu() -> bool:
    """Whether the system gives this process an NVIDIA GPU. Asking torch would load it."""
    return any(DEVICES.glob("nvidia[0-9]*")) or (DEVICES / "dxg").exists()


def prepare_openmp() -> None:
    """Set the variables that OpenMP reads when it loads: threads wait without spinning, as many as the quota allows.

    A thread that spins while it waits takes its core from other programs, and from the threads it waits for. Variables
    that the user has set are kept. This has no effect if torch is loaded already; child processes inherit it.
    """
    if not any(name in os.environ for name in WAITING):
        os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
    # Libraries count by affinity themselves, but ignore quotas.
    if (cores := count_cores()) < _affinity() and THREADS not in os.environ:
        os.environ[THREADS] = str(cores)
        _for_quota.add(THREADS)


def users_environment() -> dict[str, str]:
    """The environment without a thread count that `prepare_openmp` set, for one of several processes."""
    return {name: value for name, value in os.environ.items() if name not in _for_quota}


def _affinity() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _groups(controller: str) -> Iterator[Path]:
    """Folders of this process's control groups (versions 1 and 2) and of all their parent groups."""
    try:
        lines = MEMBERSHIP.read_text().splitlines()
    except OSError:  # not Linux
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        # In a container the path may be the host's and not exist; the group is then mounted as the root.
        root = CGROUPS / controller if controllers else CGROUPS
        group = root / path.lstrip("/")
        yield from (folder for folder in (group, *group.parents) if folder.is_relative_to(root))


def _quota(folder: Path) -> float:
    """CPU time that a group may use, in cores; infinite without a limit."""
    quota, *period = _numbers(folder / "cpu.max")
    if not period:
        quota = _numbers(folder / "cpu.cfs_quota_us")[0]
        period = _numbers(folder / "cpu.cfs_period_us")
    return quota / period[0] if 0 < period[0] < math.inf else math.inf


def _numbers(file: Path) -> list[float]:
    """The numbers in a control group's file; infinite if there is no file or no limit."""
    try:
        numbers = [math.inf if word == "max" else float(word) for word in file.read_text().split()]
    except (OSError, ValueError):
        return [math.inf]
    return [number if number > 0 else math.inf for number in numbers] or [math.inf]
