"""Kill −9 at random moments, then go on: the store is byte-identical to that of an undisturbed run."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from store import EmbeddingStore

Records = Callable[[Path], dict[str, bytes]]

# One process imports everything, then forks each run and kills it: 20 kills cost seconds, not minutes. It has run
# nothing of torch's or zarr's before a fork, so no lock is held and no thread is lost.
HARNESS = """
import json, os, random, signal, sys, time
from pathlib import Path
import zarr, torch, audiomentations
from pipeline.extraction import ExtractionOptions, run_extraction
from stages.extract import encoders, feed, run, worker
from stages.extract.recipe import Recipe

manifest, root, kills = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
recipe = Recipe(preset="tiny", muq="", musicfm="", layers=(2,), seed=3)
draw = random.Random(5)

def extract():
    run_extraction(manifest, root, recipe, augment=1, receipt=None, options=ExtractionOptions(readers=0))

def records():
    return len(list(Path(root).glob("records/*/*/*/zarr.json")))

def child():
    pid = os.fork()
    if not pid:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        try:
            extract()
        except BaseException as error:
            print(type(error).__name__, error, flush=True)
            os._exit(3)
        os._exit(0)
    return pid

seen, begun = [], time.monotonic()
for _ in range(kills):
    before, pid = records(), child()
    # Wait for a first new record, so that each kill strikes a run at work; then any moment of the next ones.
    while records() == before and os.waitpid(pid, os.WNOHANG) == (0, 0):
        time.sleep(0.002)
    time.sleep(draw.uniform(0, 0.12))
    try:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    except (ProcessLookupError, ChildProcessError):
        pass
    seen.append(records())
_, status = os.waitpid(child(), 0)
print(json.dumps({"seen": seen, "status": status}))
"""


def harness(manifest: Path, root: Path, kills: int) -> dict[str, list[int] | int]:
    done = subprocess.run(
        [sys.executable, "-c", HARNESS, str(manifest), str(root), str(kills)],
        capture_output=True, text=True, check=True, timeout=600, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    result: dict[str, list[int] | int] = json.loads(done.stdout.splitlines()[-1])
    return result


def test_twenty_kills_and_a_resume_equal_an_undisturbed_run(
    tmp_path: Path, make_songs: Callable[..., Path], record_bytes: Records
) -> None:
    manifest = make_songs(tmp_path / "songs", count=40, seconds=2.0)
    calm = harness(manifest, tmp_path / "calm.zarr", 0)
    killed = harness(manifest, tmp_path / "killed.zarr", 20)
    assert (calm["status"], killed["status"]) == (0, 0)
    seen = killed["seen"]
    assert isinstance(seen, list)
    assert len(seen) == 20
    assert seen[-1] < 80, "the kills must strike runs that are not done"
    assert len(EmbeddingStore.open(tmp_path / "killed.zarr")) == 80
    assert record_bytes(tmp_path / "killed.zarr") == record_bytes(tmp_path / "calm.zarr")
