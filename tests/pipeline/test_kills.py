"""Kill −9 at random moments, then continue: the store is byte-identical to that of an undisturbed run."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from store import EmbeddingStore, verify

Records = Callable[[Path], dict[str, bytes]]
# Two views each. Each of twenty kills comes after one or two new records.
SONGS = 28

# One process imports everything, then forks each run and kills it: 20 kills cost seconds, not minutes. It runs
# no code of torch or zarr before a fork, so no lock is held and no thread is lost.
HARNESS = """
import json, os, random, shutil, signal, sys, time
from pathlib import Path
import numpy, psutil, soundfile, zarr, torch, torchaudio, audiomentations
from pipeline.extraction import ExtractionOptions, run_extraction
from stages.extract import encoders, estimate, run, worker
from stages.extract.config import ExtractConfig
from stages.extract.views import feed

manifest = Path(sys.argv[1])
folder = manifest.parent.parent
config = ExtractConfig(preset="tiny", muq="", musicfm="", layers=(2,), seed=3)
draw = random.Random(5)
# It happens before anything is stored, in a process of its own whose start takes most of the time of a killed run.
estimate.durations = lambda paths, processes, progress: [1.0] * len(paths)

def extract(root):
    options = ExtractionOptions(readers=0)
    return run_extraction(manifest, root, config, augment=1, receipt=None, options=options).line

def records(root):
    while True:
        try:
            return {(path, path.stat().st_mtime_ns) for path in Path(root).glob("records/*/*/*/zarr.json")}
        except FileNotFoundError:  # one is being replaced, and so may its folder be
            pass

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

def step(name, kills=0, pause=0.0):
    root, seen, begun = str(folder / name), [], time.perf_counter()
    told = f"{root}.line"
    for _ in range(kills):
        before, pid = records(root), child(root, told)
        # Wait for a first new record, so that each kill interrupts work; then any moment of the next ones.
        while records(root) == before and os.waitpid(pid, os.WNOHANG) == (0, 0):
            time.sleep(0.002)
        time.sleep(draw.uniform(0, pause))
        try:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        except (ProcessLookupError, ChildProcessError):
            pass
        seen.append(len(records(root)))
    _, status = os.waitpid(child(root, told), 0)
    seconds = time.perf_counter() - begun
    return {"seen": seen, "status": status, "line": Path(told).read_text(), "seconds": seconds}

def change():
    for number, path in enumerate(sorted(manifest.parent.glob("*.wav"))):
        soundfile.write(path, numpy.random.default_rng(100 + number).uniform(-0.3, 0.3, 24_000), 24_000)

calm = step("calm.zarr")
# As long as a record takes here, so that kills come at any moment of the next record, also on a fast machine.
pause = calm["seconds"] / len(records(folder / "calm.zarr"))
killed = step("killed.zarr", 20, pause)
shutil.copytree(folder / "killed.zarr", folder / "again.zarr")
change()
print(json.dumps([calm, killed, step("again.zarr", 4, pause), step("fresh.zarr")]))
"""


class Told(NamedTuple):
    """The folder of the four stores, and the output of each one's runs.

    `calm` and `killed` are of the same songs; `again` and `fresh` are of other songs under the same names, `again` made
    from a copy of `killed`. Runs of `killed` and `again` were killed 20 and 4 times before the last.
    """

    folder: Path
    calm: dict[str, Any]
    killed: dict[str, Any]
    again: dict[str, Any]
    fresh: dict[str, Any]


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory, make_songs: Callable[..., Path]) -> Told:
    folder = tmp_path_factory.mktemp("kills")
    manifest = make_songs(folder / "songs", count=SONGS, seconds=1.0)
    done = subprocess.run(
        [sys.executable, "-c", HARNESS, str(manifest)],
        capture_output=True, text=True, timeout=600, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return Told(folder, *json.loads(done.stdout.splitlines()[-1]))


def test_twenty_kills_and_a_resume_equal_an_undisturbed_run(told: Told, record_bytes: Records) -> None:
    assert (told.calm["status"], told.killed["status"]) == (0, 0)
    seen = told.killed["seen"]
    assert len(seen) == 20
    assert seen[-1] < 2 * SONGS, "the kills must hit unfinished runs"
    assert len(EmbeddingStore.open(told.folder / "killed.zarr")) == 2 * SONGS
    assert record_bytes(told.folder / "killed.zarr") == record_bytes(told.folder / "calm.zarr")


def test_kills_while_changed_songs_are_extracted_again_leave_no_mixture(told: Told, record_bytes: Records) -> None:
    assert (told.again["status"], told.fresh["status"]) == (0, 0)
    assert min(told.again["seen"]) >= 2 * SONGS - 1, "a kill lost more than the current record"
    assert 0 < int(told.again["line"].split(" done")[0]) < 2 * SONGS, "the kills must hit working runs"
    assert told.fresh["line"].startswith(f"{2 * SONGS} done, 0 skipped, 0 failed; ")
    assert verify(str(told.folder / "again.zarr")).problems == []
    assert record_bytes(told.folder / "again.zarr") == record_bytes(told.folder / "fresh.zarr")
