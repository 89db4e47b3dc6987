"""Cores and memory by affinity and control groups, and the wait policy of OpenMP's threads."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from stages.common import machine, processes
from stages.common.machine import WAITING, count_cores, default_readers, memory_limit, users_environment
from stages.common.processes import Processes


@pytest.fixture
def groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of control groups without limits, on a machine with 16 cores and 64 GiB."""
    monkeypatch.setattr(machine, "CGROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(machine, "MEMBERSHIP", tmp_path / "membership")
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(16)), raising=False)
    monkeypatch.setattr("psutil.virtual_memory", lambda: SimpleNamespace(total=64 << 30))
    (tmp_path / "membership").write_text("0::/\n")
    return tmp_path / "cgroup"


def put(folder: Path, membership: str, files: dict[str, str]) -> None:
    (folder.parent / "membership").write_text(membership)
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"{text}\n")


@pytest.mark.parametrize(("device", "cores", "readers"), [("nvidia1", 16, 14), ("nvidia0", 2, 1), ("nvidiactl", 16, 8)])
def test_readers_leave_two_cores_beside_a_gpu(
    groups: Path, monkeypatch: pytest.MonkeyPatch, device: str, cores: int, readers: int
) -> None:
    put(groups, "0::/", {"cpu.max": f"{cores}00000 100000"})
    monkeypatch.setattr(machine, "DEVICES", groups)
    (groups / device).touch()
    assert default_readers() == readers
    assert default_readers(4) == max(1, readers // 4)


V1 = "9:name=systemd:/\n4:memory:/docker/abc\n2:cpu,cpuacct:/docker/abc\n0::/\n"


@pytest.mark.parametrize(
    ("membership", "files", "cores"),
    [
        ("0::/\n", {}, 16),
        ("0::/\n", {"cpu.max": "400000 100000"}, 4),
        ("0::/\n", {"cpu.max": "max 100000"}, 16),
        ("0::/\n", {"cpu.max": "150000 100000"}, 2),
        ("0::/\n", {"cpu.max": "1000 100000"}, 1),
        ("0::/\n", {"cpu.max": "9900000 100000"}, 16),
        # The group itself has no limit, a parent group has; the tightest of several counts.
        ("0::/a/b\n", {"a/b/cpu.max": "max 100000", "a/cpu.max": "300000 100000"}, 3),
        ("0::/a/b\n", {"a/b/cpu.max": "600000 100000", "a/cpu.max": "200000 50000", "cpu.max": "max 100000"}, 4),
        ("0::/../elsewhere\n", {"cpu.max": "200000 100000"}, 2),
        (V1, {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, 16),
        (V1, {"cpu/docker/abc/cpu.cfs_quota_us": "500000", "cpu/docker/abc/cpu.cfs_period_us": "100000"}, 5),
        # In a container, the group of that path on the host is mounted as the root.
        (V1, {"cpu/cpu.cfs_quota_us": "250000", "cpu/cpu.cfs_period_us": "100000"}, 3),
        ("0::/\n", {"cpu.max": "odd"}, 16),
        ("0::/\n", {"cpu.max": ""}, 16),
        ("0::/\n", {"cpu.max": "0 0"}, 16),
    ],
)
def test_cores_are_counted_by_quota(groups: Path, membership: str, files: dict[str, str], cores: int) -> None:
    put(groups, membership, files)
    assert count_cores() == cores


@pytest.mark.parametrize(
    ("membership", "files", "gigabytes"),
    [
        ("0::/\n", {}, 64),
        ("0::/\n", {"memory.max": str(8 << 30)}, 8),
        ("0::/\n", {"memory.max": "max"}, 64),
        ("0::/a/b\n", {"a/b/memory.max": "max", "a/memory.max": str(6 << 30)}, 6),
        (V1, {"memory/docker/abc/memory.limit_in_bytes": str(12 << 30)}, 12),
        (V1, {"memory/memory.limit_in_bytes": "9223372036854771712"}, 64),
    ],
)
def test_memory_is_that_of_the_container(groups: Path, membership: str, files: dict[str, str], gigabytes: int) -> None:
    put(groups, membership, files)
    assert memory_limit() == gigabytes << 30
    assert processes._memory_limit(2) == max(2, gigabytes // 4) << 30


def test_cores_are_counted_by_affinity(groups: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {3, 5, 7})
    assert count_cores() == 3
    (groups.parent / "membership").unlink()
    assert count_cores() == 3


def test_openmp_gets_as_many_threads_as_the_quota_allows(groups: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", environment := {})
    monkeypatch.setattr(machine, "_for_quota", set())
    machine.prepare_openmp()
    assert environment == {"OMP_WAIT_POLICY": "PASSIVE"}
    put(groups, "0::/\n", {"cpu.max": "300000 100000"})
    machine.prepare_openmp()
    assert environment == {"OMP_WAIT_POLICY": "PASSIVE", "OMP_NUM_THREADS": "3"}
    # Each of several Dask workers has one thread, unless the user says otherwise.
    assert users_environment() == {"OMP_WAIT_POLICY": "PASSIVE"}
    machine._for_quota.clear()
    environment["OMP_NUM_THREADS"] = "7"
    machine.prepare_openmp()
    assert users_environment() == environment == {"OMP_WAIT_POLICY": "PASSIVE", "OMP_NUM_THREADS": "7"}


# Ends a script before it loads a library with OpenMP, and prints how OpenMP would wait.
AT_LOADING = """
import os, sys
class Hook:
    def find_spec(self, name, path, target=None):
        if name in ("torch", "sklearn"):
            print(os.environ.get("OMP_WAIT_POLICY"))
            sys.stdout.flush()
            os._exit(0)
sys.meta_path.insert(0, Hook())
"""


def waiting_at_loading(code: str, **given: str) -> str:
    environment = {name: value for name, value in os.environ.items() if name not in WAITING}
    done = subprocess.run(
        [sys.executable, "-c", AT_LOADING + code],
        capture_output=True, text=True, check=True, env={**environment, **given},
    )  # fmt: skip
    return done.stdout.strip()


@pytest.mark.parametrize(
    "code",
    [
        "import stages.head.data.torch_dataset",
        "import stages.probe.fit",
        "import benchmarks.bench_head",
        "import pipeline, torch",
    ],
)
def test_waiting_is_passive_before_torch_is_loaded(code: str) -> None:
    assert waiting_at_loading(code) == "PASSIVE"


@pytest.mark.parametrize(
    ("given", "expected"),
    [({"OMP_WAIT_POLICY": "ACTIVE"}, "ACTIVE"), ({"GOMP_SPINCOUNT": "9"}, "None"), ({"KMP_BLOCKTIME": "1"}, "None")],
)
def test_users_wait_policy_is_kept(given: dict[str, str], expected: str) -> None:
    assert waiting_at_loading("import stages.head.data.torch_dataset", **given) == expected


def test_child_processes_inherit_the_wait_policy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_WAIT_POLICY", "PASSIVE")
    with Processes(1) as pool:
        assert pool.call(60.0, os.getenv, "OMP_WAIT_POLICY") == "PASSIVE"
