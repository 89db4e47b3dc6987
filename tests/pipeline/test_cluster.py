"""Extraction on Dask: the same bytes as one process, and a lost worker loses nothing."""

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

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


def test_a_scheduler_that_is_not_there_is_named() -> None:
    with (
        pytest.raises(ClusterError, match=r"--scheduler tcp://127\.0\.0\.1:9: no Dask scheduler answers"),
        dask_client(workers=0, scheduler="tcp://127.0.0.1:9", device="cpu"),
    ):
        pass
