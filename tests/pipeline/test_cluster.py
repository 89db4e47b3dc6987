"""Extraction on Dask: the same bytes as one process, and a lost worker loses nothing."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline import cluster
from pipeline.cluster import ClusterError, dask_client, run_on_cluster
from pipeline.extraction import ExtractionOptions, plan_run, run_extraction
from stages.extract.recipe import Recipe
from stages.extract.run import Outcome
from stages.extract.worker import Bench
from store import EmbeddingStore

Records = Callable[[Path], dict[str, bytes]]

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")


@pytest.fixture(scope="module")
def songs(tmp_path_factory: pytest.TempPathFactory, make_songs: Callable[..., Path]) -> Path:
    return make_songs(tmp_path_factory.mktemp("songs"), count=8)


@pytest.fixture
def undisturbed(tmp_path: Path, songs: Path, recipe: Recipe, record_bytes: Records) -> dict[str, bytes]:
    root = tmp_path / "alone.zarr"
    run_extraction(songs, str(root), recipe, augment=1, receipt=None, options=ExtractionOptions(readers=0))
    return record_bytes(root)


def test_a_worker_killed_loses_nothing_and_no_byte_differs(
    tmp_path: Path, songs: Path, recipe: Recipe, undisturbed: dict[str, bytes], record_bytes: Records
) -> None:
    root = tmp_path / "dask.zarr"
    encoders = recipe.load_encoders()
    plan, _ = plan_run(songs, str(root), recipe.spec(encoders), augment=1)
    outcomes: list[Outcome] = []
    with dask_client(workers=2, scheduler="", device="cpu") as client:
        pids = list(client.run(os.getpid).values())
        # With Dask's own threshold, every large array would be mapped and faulted in anew.
        assert set(client.run(os.getenv, "MALLOC_TRIM_THRESHOLD_").values()) == {os.getenv("MALLOC_TRIM_THRESHOLD_")}

        def kill_one_at_work() -> None:
            while not list(root.glob("records/*/*/*/zarr.json")):
                time.sleep(0.01)
            os.kill(pids[0], 9)

        killer = threading.Thread(target=kill_one_at_work)
        killer.start()
        tally = run_on_cluster(
            client, plan.tasks, Bench(str(root), recipe), report=outcomes.append, stop=threading.Event()
        )
        killer.join()
    assert (tally.done, tally.failures) == (16, [])
    assert {(o.song_id, o.view) for o in outcomes} == {(t.song_id, v) for t in plan.tasks for v in t.views}
    assert len(EmbeddingStore.open(root)) == 16
    assert record_bytes(root) == undisturbed


def test_a_scheduler_elsewhere_does_the_work_with_the_same_bytes(
    tmp_path: Path, songs: Path, recipe: Recipe, undisturbed: dict[str, bytes], record_bytes: Records
) -> None:
    root = tmp_path / "dask.zarr"
    with dask_client(workers=1, scheduler="", device="cpu") as client:
        options = ExtractionOptions(scheduler=client.scheduler.address)
        summary = run_extraction(songs, str(root), recipe, augment=1, receipt=None, options=options)
    assert (summary.tally.done, summary.left) == (16, 0)
    assert record_bytes(root) == undisturbed


def test_ctrl_c_reaches_all_processes_and_only_what_is_in_hand_is_finished(
    tmp_path: Path, songs: Path, undisturbed: dict[str, bytes], record_bytes: Records
) -> None:
    root = tmp_path / "dask.zarr"
    script = "from pipeline.cli.entry import extract\nif __name__ == '__main__': extract()"
    (tmp_path / "run.py").write_text(script)
    run = subprocess.Popen(
        [
            *(sys.executable, str(tmp_path / "run.py"), "--manifest", str(songs), "--store", str(root)),
            *("--preset", "tiny", "--layers", "2", "--augment", "1", "--seed", "3", "--workers", "2", "--readers", "1"),
        ],
        stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=tmp_path, start_new_session=True,
    )  # fmt: skip
    while not list(root.glob("records/*/*/*/zarr.json")) and run.poll() is None:
        time.sleep(0.01)
    # As a terminal does: the workers and the processes that read ahead hear Ctrl-C, too.
    os.killpg(run.pid, signal.SIGINT)
    printed, said = run.communicate(timeout=60)
    assert run.returncode == 1, said
    assert "views left; the same command goes on from here" in said
    assert "Traceback" not in said
    written = record_bytes(root)
    assert int(printed.split(" done")[0]) == len([path for path in written if path.endswith("zarr.json")]) < 16
    assert written.items() <= undisturbed.items()


def test_a_scheduler_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "CONNECT_SECONDS", 0.5)
    with (
        pytest.raises(ClusterError, match=r"--scheduler tcp://127\.0\.0\.1:9: no Dask scheduler answers"),
        dask_client(workers=0, scheduler="tcp://127.0.0.1:9", device="cpu"),
    ):
        pass
