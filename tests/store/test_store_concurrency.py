"""Many processes at once, and processes that die."""

import json
import os
import random
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from store import EmbeddingStore, Spec, StoreError, StoreWriter, verify
from store.keys import METADATA, SHARD, record_path
from store.local import HOST, LocalObjects
from store.objects import open_objects
from store.sweep import sweep

COMMON = """
import sys, json
import numpy as np
from store import EmbeddingStore, Spec, StoreWriter
root, spec, me, songs = sys.argv[1], Spec.from_json(json.loads(sys.argv[2])), *map(int, sys.argv[3:])
def frames(song, view):
    rng = np.random.default_rng([int(song[1:]), view])
    return rng.standard_normal((2, 40 + view, 8)).astype(np.float32)
"""
# Each writer makes all records, in an order of its own, with attributes of its own.
WRITE = (
    COMMON
    + """
writer = StoreWriter.open(root, spec)
order = np.random.default_rng(me).permutation([(song, view) for song in range(songs) for view in range(3)])
for song, view in order.tolist():
    writer.write(f"s{song}", view, frames(f"s{song}", view), attributes={"writer": me, "pad": "x" * me * 50})
"""
)
# Each reader reads whatever it sees until it has seen everything.
READ = (
    COMMON
    + """
import time
begun, seen = time.monotonic(), set()
while len(seen) < 3 * songs and time.monotonic() - begun < 120:
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
def start() -> Iterator[Start]:
    """A function that starts one of the scripts above; none of them outlives its test."""
    processes: list[subprocess.Popen[str]] = []

    def begin(script: str, root: str, spec: Spec, number: int, *, songs: int = 12) -> "subprocess.Popen[str]":
        command = [sys.executable, "-c", script, root, json.dumps(spec.to_json()), str(number), str(songs)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
        processes.append(process)
        return process

    yield begin
    for process in processes:
        process.kill()
        process.communicate()


def finish(process: "subprocess.Popen[str]") -> str:
    output, errors = process.communicate(timeout=180)
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
def test_who_creates_a_store_first_decides_its_spec(
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


def test_writers_who_disagree_leave_whole_records(start: Start, tmp_path: Path, spec: Spec) -> None:
    root = str(tmp_path / "store")
    for process in [start(DIFFER, root, spec, number) for number in range(6)]:
        finish(process)
    store = EmbeddingStore.open(root)
    assert len(store) == 40
    assert all(store.frames(song) == 10 + store.attributes(song)["writer"] for song in store.songs)
    assert verify(root).problems == []


def test_writers_in_step_come_apart(
    tmp_path: Path, spec: Spec, make_frames: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each puts its shard while the other puts zarr.json: as fast as they can, neither would ever find its own."""
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


@pytest.mark.parametrize("whole", [True, False])
def test_a_writer_that_finds_anothers_shard_keeps_anothers_record_only_if_whole(
    whole: bool, tmp_path: Path, spec: Spec, make_frames: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    root, put = tmp_path / "store", LocalObjects.put
    metadata = root / record_path("a", 0) / METADATA
    ours, theirs = StoreWriter.open(root, spec), StoreWriter.open(root, spec)
    ours.write("first", 0, make_frames(), attributes={})
    texts: list[bytes] = []

    def put_late(self: LocalObjects, key: str, parts: Any, *, size: int = 0) -> None:
        if key.endswith(METADATA) and not texts:
            texts.append(b"")
            theirs.write("a", 0, make_frames(2), attributes={"writer": "theirs"})
            texts[0] = metadata.read_bytes()
        put(self, key, parts, size=size)

    def pause(_: float) -> None:
        if whole:
            metadata.write_bytes(texts[0])

    monkeypatch.setattr(LocalObjects, "put", put_late)
    monkeypatch.setattr("store.arrays.time.sleep", pause)
    assert ours.write("a", 0, make_frames(1), attributes={"writer": "ours"}) is not whole
    assert EmbeddingStore.open(root).attributes("a", 0)["writer"] == ("theirs" if whole else "ours")
    assert verify(str(root)).problems == []


def test_writers_killed_at_any_moment(
    start: Start, tmp_path: Path, spec: Spec, make_frames: Callable[..., Any]
) -> None:
    root, randomness = str(tmp_path / "store"), random.Random(5)
    seen: set[str] = set()
    for attempt in range(8):
        process = start(FOREVER, root, spec, attempt * 1000)
        assert process.stdout is not None
        process.stdout.readline()
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


@pytest.mark.parametrize("moment", ["before zarr.json", "after zarr.json"])
def test_a_sweep_between_the_two_puts_breaks_nothing(
    moment: str, tmp_path: Path, spec: Spec, make_frames: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = StoreWriter.open(tmp_path / "store", spec)
    writer.write("first", 0, make_frames(), attributes={})
    other, put, swept = open_objects(str(tmp_path / "store")), LocalObjects.put, []

    def put_with_sweep(self: LocalObjects, key: str, parts: Any, *, size: int = 0) -> None:
        wanted = SHARD if moment == "before zarr.json" else METADATA
        put(self, key, parts, size=size)
        if key == f"{record_path('a', 0)}/{wanted}" and not swept:
            swept.append(key)
            sweep(other)

    monkeypatch.setattr(LocalObjects, "put", put_with_sweep)
    writer.write("a", 0, make_frames(1), attributes={})
    assert swept
    assert verify(str(tmp_path / "store")).problems == []


def test_a_sweep_that_loses_the_race_puts_the_shard_back(
    tmp_path: Path, spec: Spec, make_frames: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "store"
    StoreWriter.open(root, spec).write("a", 0, make_frames(), attributes={})
    metadata = root / record_path("a", 0) / METADATA
    text, take = metadata.read_bytes(), LocalObjects.take
    metadata.unlink()

    def take_late(self: LocalObjects, key: str) -> bytes | None:
        metadata.write_bytes(text)
        return take(self, key)

    monkeypatch.setattr(LocalObjects, "take", take_late)
    sweep(open_objects(str(root)))
    assert verify(str(root)).problems == []


def test_a_sweep_leaves_a_shard_that_came_after_the_one_it_took(
    tmp_path: Path, spec: Spec, make_frames: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    root, take = tmp_path / "store", LocalObjects.take
    writer = StoreWriter.open(root, spec)
    for song in ("first", "a"):
        writer.write(song, 0, make_frames(), attributes={})
    (root / record_path("a", 0) / METADATA).unlink()

    def take_early(self: LocalObjects, key: str) -> bytes | None:
        data = take(self, key)
        writer.write("a", 0, make_frames(1), attributes={"writer": "another"})
        return data

    monkeypatch.setattr(LocalObjects, "take", take_early)
    sweep(open_objects(str(root)))
    assert EmbeddingStore.open(root).attributes("a", 0)["writer"] == "another"
    assert verify(str(root)).problems == []
