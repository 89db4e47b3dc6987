"""Kill −9 at random moments, then go on: the store is byte-identical to that of an undisturbed run."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from store import EmbeddingStore, verify

Records = Callable[[Path], dict[str, bytes]]

# One process imports everything, then forks each run and kills it: 20 kills cost seconds, not minutes. It has run
# nothing of torch's or zarr's before a fork, so no lock is held and no thread is lost.
HARNESS = """
import json, os, random, signal, sys, time
from pathlib import Path
import numpy, soundfile, zarr, torch, audiomentations
from pipeline.extraction import ExtractionOptions, run_extraction
from stages.extract import encoders, feed, run, worker
from stages.extract.recipe import Recipe

manifest, steps = Path(sys.argv[1]), json.loads(sys.argv[2])
recipe = Recipe(preset="tiny", muq="", musicfm="", layers=(2,), seed=3)
draw = random.Random(5)

def extract(root):
    options = ExtractionOptions(readers=0)
    return run_extraction(manifest, root, recipe, augment=1, receipt=None, options=options).line

def records(root):
    found = set()
    for path in Path(root).glob("records/*/*/*/zarr.json"):
        try:
            found.add((path, path.stat().st_mtime_ns))
        except FileNotFoundError:  # it is being replaced
            found.add((path, 0))
    return found

def child(root, told):
    pid = os.fork()
    if not pid:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        try:
            Path(told).write_text(extract(root))
        except BaseException as error:
            print(type(error).__name__, error, flush=True)
            os._exit(3)
        os._exit(0)
    return pid

def step(root, kills):
    seen, told = [], f"{root}.line"
    for _ in range(kills):
        before, pid = records(root), child(root, told)
        # Wait for a first new record, so that each kill strikes a run at work; then any moment of the next ones.
        while records(root) == before and os.waitpid(pid, os.WNOHANG) == (0, 0):
            time.sleep(0.002)
        time.sleep(draw.uniform(0, 0.12))
        try:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        except (ProcessLookupError, ChildProcessError):
            pass
        seen.append(len(records(root)))
    _, status = os.waitpid(child(root, told), 0)
    return {"seen": seen, "status": status, "line": Path(told).read_text()}

def change():
    for number, path in enumerate(sorted(manifest.parent.glob("*.wav"))):
        soundfile.write(path, numpy.random.default_rng(100 + number).uniform(-0.3, 0.3, 24_000), 24_000)

print(json.dumps([change() if each == "change" else step(*each) for each in steps]))
"""


def harness(manifest: Path, *steps: tuple[Path, int] | str) -> list[Any]:
    """Run steps: (store, kills before a run that ends), or "change" for other songs under the same names."""
    plain = [each if isinstance(each, str) else (str(each[0]), each[1]) for each in steps]
    done = subprocess.run(
        [sys.executable, "-c", HARNESS, str(manifest), json.dumps(plain)],
        capture_output=True, text=True, check=True, timeout=600, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    results: list[Any] = json.loads(done.stdout.splitlines()[-1])
    return results


def test_twenty_kills_and_a_resume_equal_an_undisturbed_run(
    tmp_path: Path, make_songs: Callable[..., Path], record_bytes: Records
) -> None:
    manifest = make_songs(tmp_path / "songs", count=40, seconds=2.0)
    calm, killed = harness(manifest, (tmp_path / "calm.zarr", 0), (tmp_path / "killed.zarr", 20))
    assert (calm["status"], killed["status"]) == (0, 0)
    seen = killed["seen"]
    assert len(seen) == 20
    assert seen[-1] < 80, "the kills must strike runs that are not done"
    assert len(EmbeddingStore.open(tmp_path / "killed.zarr")) == 80
    assert record_bytes(tmp_path / "killed.zarr") == record_bytes(tmp_path / "calm.zarr")


def test_kills_while_changed_songs_are_made_again_leave_no_mixture(
    tmp_path: Path, make_songs: Callable[..., Path], record_bytes: Records
) -> None:
    manifest = make_songs(tmp_path / "songs", count=12, seconds=1.0)
    root, fresh = tmp_path / "killed.zarr", tmp_path / "calm.zarr"
    _, _, killed, calm = harness(manifest, (root, 0), "change", (root, 4), (fresh, 0))
    assert (killed["status"], calm["status"]) == (0, 0)
    assert min(killed["seen"]) >= 23, "a kill took more than the record in hand"
    assert 0 < int(killed["line"].split(" done")[0]) < 24, "the kills must strike runs that are at work"
    assert calm["line"].startswith("24 done, 0 skipped, 0 failed; ")
    assert verify(str(root)).problems == []
    assert record_bytes(root) == record_bytes(fresh)
