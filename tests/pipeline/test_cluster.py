"""Extraction on Dask: the same bytes as one process, and a lost worker loses nothing."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import nullcontext
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from distributed import Client, KilledWorker
from distributed.versions import get_versions

from pipeline import cluster
from pipeline.cluster import ClusterError, dask_client
from pipeline.cluster_songs import TASKS_AHEAD, run_on_cluster
from pipeline.extraction import ExtractionOptions, plan_run, run_extraction
from pipeline.local_workers import TRIES
from stages.extract.config import ExtractConfig
from stages.extract.plan import Plan
from stages.extract.run import Outcome, Tally
from stages.extract.worker import WorkerConfig
from store import EmbeddingStore, StoreWriter
from store.errors import HearError

Records = Callable[[Path], dict[str, bytes]]
Begin = Callable[..., "subprocess.Popen[str]"]

SECONDS = 300

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")


@pytest.fixture(scope="module")
def songs(tmp_path_factory: pytest.TempPathFactory, make_songs: Callable[..., Path]) -> Path:
    return make_songs(tmp_path_factory.mktemp("songs"), count=8)


@pytest.fixture
def undisturbed(tmp_path: Path, songs: Path, config: ExtractConfig, record_bytes: Records) -> dict[str, bytes]:
    root = tmp_path / "alone.zarr"
    run_extraction(songs, str(root), config, augment=1, receipt=None, options=ExtractionOptions(readers=0))
    return record_bytes(root)


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    """A scheduler with one worker, whose working directory tests may change."""
    with dask_client(workers=1, scheduler="", device="cpu") as client:
        yield client


@pytest.fixture
def begin(start_process: Begin) -> Begin:
    """A function that starts Python with some arguments."""
    return lambda *command, **how: start_process([sys.executable, *command], text=True, **how)


def begin_worker(begin: Begin, address: str, folder: Path) -> "subprocess.Popen[str]":
    command = ("-m", "distributed.cli.dask_worker", address, "--no-nanny", "--nthreads", "1", "--no-dashboard")
    return begin(*command, cwd=folder, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)


def begin_extract(begin: Begin, folder: Path, songs: Path, root: Path, *more: str) -> "subprocess.Popen[str]":
    (folder / "run.py").write_text("from pipeline.cli.entry import run\nif __name__ == '__main__': run('extract')")
    options = ("--preset", "tiny", "--layers", "2", "--seed", "3", "--readers", "1", *more)
    command = (str(folder / "run.py"), "--manifest", str(songs), "--store", str(root), *options)
    return begin(*command, cwd=folder, stderr=subprocess.PIPE, stdout=subprocess.PIPE)


def wait_until(holds: Callable[[], object]) -> None:
    deadline = time.monotonic() + SECONDS
    while not holds() and time.monotonic() < deadline:
        time.sleep(0.01)


def returned(call: Callable[[], Tally]) -> Tally:
    """The result of the call; a call that hangs fails only its own test."""
    result: Future[Tally] = Future()

    def work() -> None:
        try:
            result.set_result(call())
        except BaseException as error:
            result.set_exception(error)

    threading.Thread(target=work, daemon=True).start()
    return result.result(SECONDS)


def planned(songs: Path, root: Path, config: ExtractConfig) -> Plan:
    """Plan two views per song, in an existing store."""
    spec = config.spec(config.load_encoders())
    StoreWriter.open(root, spec)
    return plan_run(songs, str(root), spec, augment=1)


def test_a_killed_worker_changes_no_byte_of_the_store(
    tmp_path: Path, songs: Path, config: ExtractConfig, undisturbed: dict[str, bytes], record_bytes: Records
) -> None:
    root = tmp_path / "dask.zarr"
    plan = planned(songs, root, config)
    outcomes: list[Outcome] = []
    with dask_client(workers=2, scheduler="", device="cpu") as client:
        pids = list(client.run(os.getpid).values())
        # With Dask's own threshold, every large array would be mapped and faulted in again.
        assert set(client.run(os.getenv, "MALLOC_TRIM_THRESHOLD_").values()) == {os.getenv("MALLOC_TRIM_THRESHOLD_")}
        assert set(client.run(os.getenv, "OMP_WAIT_POLICY").values()) == {os.environ["OMP_WAIT_POLICY"]}

        def kill_one_at_work() -> None:
            wait_until(lambda: list(root.glob("records/*/*/*/zarr.json")))
            os.kill(pids[0], 9)

        killer = threading.Thread(target=kill_one_at_work)
        killer.start()
        worker, stop = WorkerConfig(str(root), config), threading.Event()
        tally = run_on_cluster(client, plan.tasks, worker, report=outcomes.append, say=print, stop=stop)
        killer.join()
    assert (tally.done, tally.failures) == (16, [])
    assert {(o.song_id, o.view) for o in outcomes} == {(t.song_id, v) for t in plan.tasks for v in t.views}
    assert len(EmbeddingStore.open(root)) == 16
    assert record_bytes(root) == undisturbed


def test_a_remote_scheduler_fills_the_given_store(
    tmp_path: Path,
    songs: Path,
    config: ExtractConfig,
    client: Client,
    undisturbed: dict[str, bytes],
    record_bytes: Records,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "elsewhere").mkdir()
    client.run(os.chdir, str(tmp_path / "elsewhere"))
    monkeypatch.chdir(tmp_path)
    options = ExtractionOptions(scheduler=client.scheduler.address)
    summary = run_extraction(songs, "dask.zarr", config, augment=1, receipt=None, options=options)
    assert (summary.tally.done, summary.left) == (16, 0)
    assert record_bytes(tmp_path / "dask.zarr") == undisturbed
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_paths_sent_to_workers_are_absolute(
    tmp_path: Path, songs: Path, config: ExtractConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = []

    def run(client: None, tasks: object, worker: WorkerConfig, **_: object) -> Tally:
        given.append(worker)
        return Tally()

    monkeypatch.setattr("pipeline.workers.dask_client", lambda **_: nullcontext())
    monkeypatch.setattr("pipeline.cluster_songs.run_on_cluster", run)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "muq").mkdir()
    options, local = ExtractionOptions(workers=1), replace(config, muq="muq")
    run_extraction(songs, "s.zarr", local, augment=0, receipt=None, options=options)
    (worker,) = given
    assert (worker.root, worker.extract.muq) == (str(tmp_path / "s.zarr"), str(tmp_path / "muq"))


def test_a_workers_error_ends_the_run(tmp_path: Path, songs: Path, config: ExtractConfig, client: Client) -> None:
    plan, worker = planned(songs, tmp_path / "here.zarr", config), WorkerConfig(str(tmp_path / "not here.zarr"), config)
    stop = threading.Event()
    with pytest.raises(HearError, match=r"worker on .* cannot find the store: .*not here\.zarr"):
        run_on_cluster(client, plan.tasks, worker, report=print, say=print, stop=stop)
    assert stop.is_set(), "other workers were left at work"


@pytest.mark.parametrize("workers", [1, 6])
def test_only_enough_songs_to_keep_workers_busy_are_submitted(
    tmp_path: Path, songs: Path, config: ExtractConfig, client: Client, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    plan, stop, submitted, reported = planned(songs, tmp_path / "s.zarr", config), threading.Event(), [], []
    submit = client.submit

    def counted(function: Any, task: Any, *more: Any, **how: Any) -> Any:
        submitted.append(task)
        return submit(function, task, *more, **how)

    def info(n_workers: int = 5) -> dict[str, Any]:
        """As the oldest allowed version of Dask: it reports only five by default."""
        return {"workers": dict.fromkeys(range(workers if n_workers < 0 else min(workers, n_workers)))}

    def report(outcome: Outcome) -> None:
        reported.append(len(submitted))
        stop.set()

    monkeypatch.setattr(client, "submit", counted)
    monkeypatch.setattr(client, "scheduler_info", info)
    worker = WorkerConfig(str(tmp_path / "s.zarr"), config, processes=0)
    # Fewer songs are submitted than there are.
    run_on_cluster(client, plan.tasks * 2, worker, report=report, say=print, stop=stop)
    assert reported[0] == workers + TASKS_AHEAD


def test_quick_songs_share_a_task_and_are_tried_one_by_one_if_their_workers_die(
    tmp_path: Path, songs: Path, config: ExtractConfig, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, sizes, submit = planned(songs, tmp_path / "s.zarr", config), [], client.submit

    def dead(*task: object) -> None:
        raise KilledWorker("task", SimpleNamespace(address=""), 3)

    def counted(function: Any, task: Any, *more: Any, **how: Any) -> Any:
        sizes.append(len(task))
        return submit(dead if len(task) > 1 else function, task, *more, **how)

    monkeypatch.setattr(client, "submit", counted)
    monkeypatch.setattr("pipeline.cluster_songs.TASK_SECONDS", 1_000.0)
    worker, stop = WorkerConfig(str(tmp_path / "s.zarr"), config, processes=0), threading.Event()
    tally = run_on_cluster(client, plan.tasks * 4, worker, report=lambda _: None, say=print, stop=stop)
    assert (tally.done, tally.failures) == (64, [])
    # The first tasks measure; the last ones are small, so that several workers would end at the same time.
    assert sizes[:4] == [1, 1, 1, 7]
    assert sizes[-1] == 1


def test_after_ctrl_c_in_all_processes_only_current_views_are_finished(
    tmp_path: Path, songs: Path, undisturbed: dict[str, bytes], record_bytes: Records, begin: Begin, family: Any
) -> None:
    root, views = tmp_path / "dask.zarr", 101
    run = begin_extract(begin, tmp_path, songs, root, "--augment", str(views - 1), "--workers", "2")
    wait_until(lambda: list(root.glob("records/*/*/*/zarr.json")) or run.poll() is not None)
    # The command, two workers, and a reader of each: all that could remain if killed now.
    wait_until(lambda: len(family(run.pid).living()) >= 5 or run.poll() is not None)
    assert family(run.pid).shared_memory() == set()
    # As in a terminal: Ctrl-C also reaches the workers and the processes that read ahead.
    os.killpg(run.pid, signal.SIGINT)
    printed, said = run.communicate(timeout=SECONDS)
    assert run.returncode == 1, said
    assert "views left; run the same command again to continue" in said
    assert "Traceback" not in said
    written = record_bytes(root)
    records = [path for path in written if path.endswith("zarr.json")]
    assert int(printed.split(" done")[0]) == len(records) > 0
    per_song = [len(list(song.iterdir())) for song in root.glob("records/*/*")]
    assert max(per_song) < views, "a worker continued to the end of its song"
    both = written.keys() & undisturbed.keys()
    assert both
    assert {path: written[path] for path in both} == {path: undisturbed[path] for path in both}


def test_a_missing_scheduler_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "CONNECT_SECONDS", 0.5)
    with (
        pytest.raises(ClusterError, match=r"--scheduler tcp://127\.0\.0\.1:9: no Dask scheduler answers"),
        dask_client(workers=0, scheduler="tcp://127.0.0.1:9", device="cpu"),
    ):
        pass


def test_a_scheduler_without_workers_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "CONNECT_SECONDS", 3.0)
    with dask_client(workers=0, scheduler="", device="cpu") as client:
        address = client.scheduler.address
        with (
            pytest.raises(
                ClusterError, match=rf"--scheduler {address}: has no Dask worker, and none joined within 3 s"
            ),
            dask_client(workers=0, scheduler=address, device="cpu"),
        ):
            pass


def test_the_loss_of_the_last_worker_is_reported_and_a_stop_ends_the_wait(
    tmp_path: Path, songs: Path, config: ExtractConfig, begin: Begin
) -> None:
    plan, about = (
        planned(songs, tmp_path / "s.zarr", config),
        WorkerConfig(str(tmp_path / "s.zarr"), config, processes=0),
    )
    stop, said = threading.Event(), []
    with dask_client(workers=0, scheduler="", device="cpu") as client:
        worker = begin_worker(begin, client.scheduler.address, tmp_path)
        client.wait_for_workers(1, timeout=SECONDS)

        def say(line: str) -> None:
            said.append(line)
            stop.set()

        def run() -> Tally:
            return run_on_cluster(client, plan.tasks, about, report=lambda _: worker.kill(), say=say, stop=stop)

        tally = returned(run)
    assert said == ["no Dask worker is left; the run continues when one joins; Ctrl-C ends it"]
    assert 0 < tally.done < 16
    assert tally.failures == []


def test_a_lost_scheduler_gives_one_line_and_stored_records_stay(
    tmp_path: Path, songs: Path, record_bytes: Records, begin: Begin
) -> None:
    root, about = tmp_path / "s.zarr", tmp_path / "scheduler.json"
    command = ("--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", str(about))
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": tmp_path}
    scheduler = begin("-m", "distributed.cli.dask_scheduler", *command, **quiet)
    wait_until(lambda: about.exists() and about.read_text().endswith("}"))
    address = json.loads(about.read_text())["address"]
    begin_worker(begin, address, tmp_path)
    with Client(address, timeout=SECONDS) as client:
        client.wait_for_workers(1, timeout=SECONDS)
    run = begin_extract(begin, tmp_path, songs, root, "--augment", "100", "--scheduler", address)
    wait_until(lambda: list(root.glob("records/*/*/*/zarr.json")) or run.poll() is not None)
    scheduler.kill()
    _, said = run.communicate(timeout=SECONDS)
    assert run.returncode == 1, said
    line = f"hear-extract: {address}: the scheduler was lost; run the same command again to continue"
    assert said.splitlines()[-1] == line
    assert "Traceback" not in said
    assert record_bytes(root)


def test_full_shared_memory_gives_one_line_on_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    full = SimpleNamespace(free=4096)
    monkeypatch.setattr(cluster.shutil, "disk_usage", {"/dev/shm": full}.__getitem__)
    with (
        pytest.raises(ClusterError, match=r"^/dev/shm is full, .*: free some space, or use this process alone"),
        dask_client(workers=1, scheduler="", device="cuda"),
    ):
        pass


@pytest.mark.parametrize(
    ("place", "name", "found", "line"),
    [
        (
            "scheduler",
            "distributed",
            "2024.1.0",
            "the scheduler has distributed 2024.1.0, this command has {}; install",
        ),
        ("workers", "distributed", "2024.1.0", "the worker at tcp://.* has distributed 2024.1.0, this command has {};"),
        ("workers", "python", "3.9.1.final.0", "the worker at tcp://.* has python 3.9.1.final.0, this command has {};"),
        ("scheduler", "hear-music", "", "the scheduler has no hear-music; install hear-music {} there"),
        ("workers", "hear-music", "", "the worker at tcp://.* has no hear-music; install hear-music {} there"),
        ("workers", "hear-music", "0.0.9", "the worker at tcp://.* has hear-music 0.0.9, this command has {}; install"),
    ],
)
def test_incompatible_versions_give_one_line(
    client: Client, place: str, name: str, found: str, line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = report_version(monkeypatch, place, name, lambda version: found)
    assert client.scheduler is not None
    with (
        pytest.raises(ClusterError, match=f"^--scheduler tcp://[^ ]*: {line.format(re.escape(ours[name]))}"),
        dask_client(workers=0, scheduler=client.scheduler.address, device="cpu"),
    ):
        pass


def test_a_small_difference_of_versions_is_a_note(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = report_version(monkeypatch, "workers", "distributed", lambda version: f"{version}99")["distributed"]
    assert client.scheduler is not None
    said: list[str] = []
    with dask_client(workers=0, scheduler=client.scheduler.address, device="cpu", say=said.append):
        pass
    assert said == [f"note: the worker has distributed {ours}99, this command has {ours}"]


def report_version(
    monkeypatch: pytest.MonkeyPatch, place: str, name: str, change: Callable[[str], str]
) -> dict[str, str]:
    """Have the scheduler, or its workers, report another version of a package; return ours."""
    real = {method: getattr(Client, method) for method in ("get_versions", "run", "run_on_scheduler")}
    ours = {"hear-music": version("hear-music"), **get_versions()["packages"]}

    def packages(self: Client) -> Any:
        found = real["get_versions"](self)
        for about in found["workers"].values() if place == "workers" else [found["scheduler"]]:
            about["packages"][name] = change(ours[name])
        return found

    def of_workers(self: Client, *arguments: Any, **options: Any) -> Any:
        found = real["run"](self, *arguments, **options)
        return {address: change(installed) or PackageNotFoundError(name) for address, installed in found.items()}

    def of_scheduler(self: Client, *arguments: Any) -> Any:
        if not change(ours[name]):
            raise PackageNotFoundError(name)
        return change(ours[name])

    if name != "hear-music":
        monkeypatch.setattr(Client, "get_versions", packages)
    elif place == "workers":
        monkeypatch.setattr(Client, "run", of_workers)
    else:
        monkeypatch.setattr(Client, "run_on_scheduler", of_scheduler)
    return ours


def test_workers_that_cannot_start_are_given_up(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("pipeline.local_workers._START", "raise SystemExit('no such module')")
    monkeypatch.setattr("pipeline.local_workers.RESTART_SECONDS", 0.01)
    with (
        pytest.raises(ClusterError, match="ended as soon as they started"),
        dask_client(workers=2, scheduler="", device="cpu"),
    ):
        pass
    assert capfd.readouterr().err.count("no such module") <= 2 * TRIES
