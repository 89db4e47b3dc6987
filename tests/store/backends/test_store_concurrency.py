"""Many concurrent processes, and processes that die."""

import json
import os
import random
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from functools import partialmethod
from pathlib import Path
from typing import Any

import pytest

from store import EmbeddingStore, Spec, StoreError, StoreWriter, prune, verify
from store.backends.local import HOST, LocalObjects
from store.format.keys import METADATA, SHARD

COMMON = """
import sys, json
import numpy as np
from store import EmbeddingStore, Spec, StoreWriter
root, spec, me, songs = sys.argv[1], Spec.from_json(json.loads(sys.argv[2])), *map(int, sys.argv[3:])
def frames(song, view):
    rng = np.random.default_rng([int(song[1:]), view])
    return rng.standard_normal((2, 40 + view, 8)).astype(np.float32)
"""
# Each writer writes all records, in its own order and with its own attributes.
WRITE = (
    COMMON
    + """
writer = StoreWriter.open(root, spec)
order = np.random.default_rng(me).permutation([(song, view) for song in range(songs) for view in range(3)])
for song, view in order.tolist():
    writer.write(f"s{song}", view, frames(f"s{song}", view), attributes={"writer": me, "pad": "x" * me * 50})
"""
)
# Each reader reads all records that it sees, until it has seen every record.
READ = (
    COMMON
    + """
import time
begun, seen = time.monotonic(), set()
while len(seen) < 3 * songs and time.monotonic() - begun < 300:
    try:
        store = EmbeddingStore.open(root)
    except FileNotFoundError:
        time.sleep(0.01)
        continue
    for song, view in store:
        found = store.read(song, view)
        assert (found == frames(song, view).astype(np.float16)).all(), (song, view)
        assert store.attributes(song, view)["frames"] == 40 + view
        seen.add((song, view))
print(len(seen))
"""
)
DIFFER = (
    COMMON
    + """
writer = StoreWriter.open(root, spec)
for number in range(40):
    data = np.random.default_rng([me, number]).standard_normal((2, 10 + me, 8)).astype(np.float32)
    writer.write(f"s{number}", 0, data, attributes={"writer": me})
"""
)
FOREVER = (
    COMMON
    + """
writer = StoreWriter.open(root, spec)
print("ready", flush=True)
for number in range(me, 10_000):
    writer.write(f"s{number}", 0, np.tile(frames(f"s{number}", 0), (1, 500, 1)), attributes={})
"""
)


Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start(start_process: Start) -> Start:
    """A function that starts one of the scripts above."""

    def begin(script: str, root: str, spec: Spec, number: int, *, songs: int = 12) -> "subprocess.Popen[str]":
        command = [sys.executable, "-c", script, root, json.dumps(spec.to_json()), str(number), str(songs)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        return start_process(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)

    return begin


def finish(process: "subprocess.Popen[str]") -> str:
    output, errors = process.communicate(timeout=400)
    assert process.returncode == 0, errors
    return output.strip()


def test_ten_writers_and_ten_readers(start: Start, tmp_path: Path, spec: Spec) -> None:
    root = str(tmp_path / "store")
    processes = [start(script, root, spec, number) for number in range(10) for script in (WRITE, READ)]
    outputs = [finish(process) for process in processes]
    assert outputs[1::2] == ["36"] * 10
    report = verify(root)
    assert (report.records, report.problems) == (36, [])
    assert not list((Path(root) / ".tmp").iterdir())


def test_writers_and_readers_on_s3(start: Start, s3: None, spec: Spec) -> None:
    root = f"s3://embeddings/{uuid.uuid4().hex}/store"
    processes = [start(script, root, spec, number, songs=4) for number in range(3) for script in (WRITE, READ)]
    outputs = [finish(process) for process in processes]
    assert outputs[1::2] == ["12"] * 3
    report = verify(root)
    assert (report.records, report.problems) == (12, [])


@pytest.mark.parametrize("place", ["local", "s3"])
def test_the_first_creator_of_a_store_decides_its_spec(
    place: str, tmp_path: Path, spec: Spec, request: pytest.FixtureRequest
) -> None:
    root = str(tmp_path / "store")
    if place == "s3":
        request.getfixturevalue("s3")
        root = f"s3://embeddings/{uuid.uuid4().hex}/store"
    together = threading.Barrier(8)

    def create(seed: int) -> int | str:
        together.wait()
        try:
            return StoreWriter.open(root, replace(spec, seed=seed)).spec.seed
        except StoreError as error:
            return str(error)

    with ThreadPoolExecutor(8) as threads:
        results = list(threads.map(create, range(8)))
    (winner,) = (result for result in results if isinstance(result, int))
    assert EmbeddingStore.open(root).spec.seed == winner
    assert all(isinstance(result, int) or f"found {winner}" in result for result in results)


def test_writers_with_different_data_leave_complete_records(start: Start, tmp_path: Path, spec: Spec) -> None:
    root = str(tmp_path / "store")
    for process in [start(DIFFER, root, spec, number) for number in range(6)]:
        finish(process)
    store = EmbeddingStore.open(root)
    assert len(store) == 40
    assert all(store.frames(song) == 10 + store.attributes(song)["writer"] for song in store.songs)
    assert verify(root).problems == []


def test_writers_in_step_get_out_of_step(
    tmp_path: Path, spec: Spec, make_frames: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each writes its shard while the other writes zarr.json: in step, neither would ever find its own shard."""
    monkeypatch.setattr("store.format.arrays._WAITING_ATTEMPTS", 0)
    writer, put = StoreWriter.open(tmp_path / "store", spec), LocalObjects.put
    writer.write("first", 0, make_frames(), attributes={})

    def put_slowly(self: LocalObjects, key: str, parts: Any, *, size: int = 0) -> None:
        time.sleep(0.04 if key.endswith(METADATA) else 0.005)
        put(self, key, parts, size=size)

    def write(number: int) -> bool:
        time.sleep(0.0225 * number)
        return writer.write("a", 0, make_frames(number), attributes={})

    monkeypatch.setattr(LocalObjects, "put", put_slowly)
    with ThreadPoolExecutor(2) as threads:
        assert any(threads.map(write, range(2)))
    assert verify(str(tmp_path / "store")).problems == []


def test_writers_killed_at_any_moment(
    start: Start, tmp_path: Path, spec: Spec, make_frames: Callable[..., Any]
) -> None:
    root, randomness = str(tmp_path / "store"), random.Random(5)
    seen: set[str] = set()
    for attempt in range(8):
        process = start(FOREVER, root, spec, attempt * 1000)
        assert process.stdout is not None
        process.stdout.readline()
        while attempt == 7 and process.poll() is None and not list(Path(root).glob(f"records/*/*/*/{METADATA}")):
            time.sleep(0.01)
        time.sleep(randomness.uniform(0.01, 0.15))
        process.kill()
        process.communicate()
        songs = set(EmbeddingStore.open(root).songs)
        assert seen <= songs
        seen = songs
    assert seen
    StoreWriter.open(root, spec).write("last", 0, make_frames(), attributes={})
    report = verify(root)
    assert (report.records, report.problems) == (len(seen) + 1, [])
    assert not list((Path(root) / ".tmp").iterdir())


def test_a_live_process_keeps_its_staged_files(tmp_path: Path, spec: Spec, make_frames: Callable[..., Any]) -> None:
    writer = StoreWriter.open(tmp_path / "store", spec)
    staging = tmp_path / "store" / ".tmp"
    live, dead, away = (staging / f"{name}.x" for name in (f"{HOST}.{os.getppid()}", f"{HOST}.4999999", "elsewhere.1"))
    old = staging / "elsewhere.2.x"
    for file in (live, dead, away, old):
        file.write_bytes(b"part")
    os.utime(old, (0, 0))
    writer.write("a", 0, make_frames(), attributes={})
    assert sorted(staging.iterdir()) == sorted([live, away])


def test_old_litter_and_many_writers(start: Start, tmp_path: Path, spec: Spec, make_frames: Callable[..., Any]) -> None:
    """Several writers that resume after days sweep the same litter at the same moment."""
    root = tmp_path / "store"
    writer = StoreWriter.open(root, spec)
    for number in range(30):
        writer.write(f"left {number}", 0, make_frames(), attributes={})
    for metadata in root.glob(f"records/*/*/*/{METADATA}"):
        metadata.unlink()
        os.utime(metadata.parent / SHARD, (0, 0))
    for process in [start(WRITE, str(root), spec, number, songs=4) for number in range(6)]:
        finish(process)
    report = verify(str(root))
    assert (report.records, report.problems) == (12, [])
    assert not list((root / ".tmp").iterdir())


class _Killed(BaseException):
    """Raised in place of the end of a process."""


def _sweeps(root: str, spec: Spec, frames: Any) -> None:
    StoreWriter.open(root, spec).write("other", 0, frames, attributes={})


def _insists_and_is_killed(root: str, spec: Spec, frames: Any) -> None:
    writer = StoreWriter.open(root, spec)
    writer._swept = True
    with pytest.MonkeyPatch.context() as patch, suppress(_Killed):
        patch.setattr("store.format.arrays._WAITING_ATTEMPTS", 0)
        patch.setattr(LocalObjects, "put", partialmethod(_put_no_metadata, LocalObjects.put))
        writer.write("a", 0, frames + 1, attributes={})


def _put_no_metadata(self: LocalObjects, put: Any, key: str, parts: Any, **size: int) -> None:
    if key.endswith(METADATA):
        raise _Killed("here")
    put(self, key, parts, **size)


@pytest.mark.parametrize("other", [_sweeps, _insists_and_is_killed])
def test_a_writer_killed_right_after_publishing_leaves_a_complete_record(
    other: Callable[..., None],
    spec: Spec,
    tmp_path: Path,
    make_frames: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    root, create, threads = str(tmp_path / "store"), LocalObjects.create, list[threading.Thread]()

    def create_and_die(self: LocalObjects, key: str, parts: Any, *, size: int = 0) -> None:
        dies = key.startswith("records") and key.endswith(METADATA) and not threads
        if dies:  # after the check of the shard, the other process interferes as far as it can
            threads.append(threading.Thread(target=other, args=(root, spec, make_frames())))
            threads[0].start()
            threads[0].join(0.3)
        create(self, key, parts, size=size)
        if dies:
            raise _Killed("here")

    monkeypatch.setattr(LocalObjects, "create", create_and_die)
    with pytest.raises(_Killed, match="here"):
        StoreWriter.open(root, spec).write("a", 0, make_frames(), attributes={})
    threads[0].join()
    assert {problem.kind for problem in verify(root).problems} <= {"unfinished"}


def test_a_stopped_writer_with_the_lock_delays_others_only_briefly(
    spec: Spec, tmp_path: Path, make_frames: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("store.backends.local._LOCK_SECONDS", 0.1)
    writer = StoreWriter.open(tmp_path, spec)
    with LocalObjects(str(tmp_path)).locked():
        assert writer.write("a", 0, make_frames(), attributes={})
    assert verify(str(tmp_path)).problems == []


def test_killed_writers_with_different_data_leave_no_damaged_record(start: Start, tmp_path: Path, spec: Spec) -> None:
    root, randomness = str(tmp_path / "store"), random.Random(7)
    for _ in range(6):
        processes = [start(DIFFER, root, spec, number) for number in range(3)]
        while not list(Path(root).glob(f"records/*/*/*/{METADATA}")):
            time.sleep(0.01)
        time.sleep(randomness.uniform(0.0, 0.1))
        for process in processes:
            process.kill()
        for process in processes:
            process.communicate()
        assert {problem.kind for problem in verify(root).problems} <= {"unfinished"}
        prune(root, views=[0])
