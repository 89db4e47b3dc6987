"""Replacing a record: others see the old or the new one at any moment, also after a kill."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from store import EmbeddingStore, Spec, StoreError, StoreWriter, index, verify
from store.backends.objects import Objects
from store.backends.opening import open_objects
from store.format.keys import METADATA, SHARD, record_path
from store.records import Record, encode_record

Make = Callable[..., Any]
PATH = record_path("a", 0)


@pytest.fixture
def record(spec: Spec, make_frames: Make) -> Callable[[int], Record]:
    """A function that makes version n of song a, with 20 + n frames."""
    return lambda number: encode_record(
        spec, "a", 0, make_frames(number, frames=20 + number), {"source": f"sha256:{number}"}
    )


@pytest.fixture
def writer(root: str, spec: Spec, record: Callable[[int], Record]) -> StoreWriter:
    """A writer that has written version 0, which is in the index."""
    writer = StoreWriter.open(root, spec)
    assert writer.write_record(record(0))
    index(root)
    return writer


def version(root: str) -> str:
    """The stored version; also reads its data."""
    store = EmbeddingStore.open(root)
    source = str(store.attributes("a")["source"])
    assert store.read("a").shape[1] == 20 + int(source.removeprefix("sha256:"))
    return source.removeprefix("sha256:")


def test_a_record_is_replaced_only_if_it_has_the_given_digest(
    root: str, writer: StoreWriter, record: Callable[[int], Record]
) -> None:
    old = writer.digest("a", 0)
    assert not writer.write_record(record(1))
    assert not writer.write_record(record(1), replaces="of another record")
    assert (version(root), writer.digest("a", 0)) == ("0", old)
    assert writer.write_record(record(1), replaces=old)
    assert version(root) == "1"
    assert not writer.write_record(record(2), replaces=old)
    assert version(root) == "1"
    assert verify(root).problems == []
    assert EmbeddingStore.open(root).rows["a", 0].source == "sha256:1"


def test_a_removed_record_is_written(root: str, writer: StoreWriter, record: Callable[[int], Record]) -> None:
    old, objects = writer.digest("a", 0), open_objects(root)
    objects.delete(f"{PATH}/{METADATA}")
    objects.delete(f"{PATH}/{SHARD}")
    assert writer.digest("a", 0) is None
    assert writer.write_record(record(1), replaces=old)
    assert version(root) == "1"


def test_a_replaced_record_has_the_same_bytes_as_a_new_one(
    tmp_path: Path, spec: Spec, record: Callable[[int], Record], files_of: Callable[[str], dict[str, bytes]]
) -> None:
    again, fresh = (StoreWriter.open(tmp_path / name, spec) for name in ("again", "fresh"))
    again.write_record(record(0))
    again.write_record(record(1), replaces=again.digest("a", 0))
    fresh.write_record(record(1))
    assert files_of(again.root) == files_of(fresh.root)


def test_concurrent_readers_see_the_old_record_or_the_new_one(
    root: str, writer: StoreWriter, record: Callable[[int], Record]
) -> None:
    index(root)
    over, seen = threading.Event(), set[int]()

    def read() -> int:
        reads = 0
        while not over.is_set():
            store = EmbeddingStore.open(root)
            frames = store.read("a")
            seen.add(frames.shape[1] - 20)
            np.testing.assert_array_equal(frames, record(frames.shape[1] - 20).stored)
            assert ("a", 0) in store
            assert store.songs == ("a",), "the record was not listed"
            reads += 1
        return reads

    with ThreadPoolExecutor(2) as threads:
        reading = [threads.submit(read) for _ in range(2)]
        try:
            for number in range(1, 13):
                assert writer.write_record(record(number % 4), replaces=writer.digest("a", 0))
        finally:
            over.set()
        assert all(future.result(60) for future in reading)
    assert seen <= {0, 1, 2, 3}
    assert verify(root).problems == []


def test_a_reader_waits_for_several_replacements_in_a_row(
    root: str, writer: StoreWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each time that it has waited for zarr.json, the next replacement has removed it before it is read."""
    store, get, missed = EmbeddingStore.open(writer.root), type(open_objects(root)).get, list[str]()

    def get_late(self: Objects, key: str, **limit: int) -> bytes | None:
        if key.endswith(METADATA) and len(missed) < 3:
            missed.append(key)
            return None
        return get(self, key, **limit)

    monkeypatch.setattr(type(open_objects(root)), "get", get_late)
    assert store.read("a").shape[1] == 20
    assert len(missed) == 3


@pytest.mark.parametrize("place", ["local", "memory"], indirect=False)
def test_a_reader_waits_during_a_replacement(
    place: str, tmp_path: Path, spec: Spec, record: Callable[[int], Record], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the old zarr.json and the new one, every reader must wait."""
    root = str(tmp_path / "s.zarr") if place == "local" else f"memory://{tmp_path.name}/waits.zarr"
    writer = StoreWriter.open(root, spec)
    writer.write_record(record(0))
    index(root)
    hidden, go_on, create = threading.Event(), threading.Event(), type(open_objects(root)).create

    def create_late(self: Objects, key: str, parts: Any, *, size: int = 0) -> None:
        if key == f"{PATH}/{METADATA}":
            hidden.set()
            go_on.wait(60)
        create(self, key, parts, size=size)

    monkeypatch.setattr(type(open_objects(root)), "create", create_late)
    with ThreadPoolExecutor(6) as threads:
        written = threads.submit(writer.write_record, record(1), replaces=writer.digest("a", 0))
        assert hidden.wait(60)
        store = EmbeddingStore.open(root)
        asked = [
            threads.submit(look)
            for look in (
                lambda: store.read("a").shape[1],
                lambda: store.frames("a"),
                lambda: store.attributes("a")["frames"],
                lambda: 21 * (("a", 0) in store),
                lambda: EmbeddingStore.open(root).rows["a", 0].frames,
            )
        ]
        threading.Timer(0.2, go_on.set).start()
        assert written.result(60)
        assert [future.result(60) for future in asked] == [21] * 5


class KilledError(BaseException):
    """Like SIGKILL: no error handler cleans up."""


MOMENTS = [(verb, name, when) for verb, name in (("delete", METADATA), ("put", SHARD), ("create", METADATA))
           for when in ("before", "after")]  # fmt: skip


@pytest.mark.parametrize(("verb", "name", "when"), MOMENTS)
def test_a_killed_replacement_leaves_the_old_record_or_no_record(
    verb: str,
    name: str,
    when: str,
    root: str,
    spec: Spec,
    writer: StoreWriter,
    record: Callable[[int], Record],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    old, kind = writer.digest("a", 0), type(open_objects(root))
    call, killed = getattr(kind, verb), []
    monkeypatch.setattr(kind, "wait_seconds", 0.05)

    def deadly(self: Objects, key: str, *arguments: Any, **options: Any) -> None:
        ours = key == f"{PATH}/{name}"
        if ours and when == "before":
            killed.append(key)
            raise KilledError("killed")
        call(self, key, *arguments, **options)
        if ours:
            killed.append(key)
            raise KilledError("killed")

    with monkeypatch.context() as patch:
        patch.setattr(kind, verb, deadly)
        with pytest.raises(KilledError, match="killed"):
            writer.write_record(record(1), replaces=old)
    assert killed
    problems = {problem.kind for problem in verify(root).problems}
    assert problems <= {"unfinished"}, "a mixture is visible"
    if EmbeddingStore.open(root).songs:
        assert version(root) == ("1" if (verb, when) == ("create", "after") else "0")
    else:
        assert problems == {"unfinished"}
    next_run = StoreWriter.open(root, spec)
    assert next_run.write_record(record(1), replaces=next_run.digest("a", 0))
    assert version(root) == "1"
    assert verify(root).problems == []


def test_of_several_replacements_one_stays_complete(
    root: str, spec: Spec, writer: StoreWriter, record: Callable[[int], Record]
) -> None:
    for round_ in range(3):
        old, together = writer.digest("a", 0), threading.Barrier(4)

        def replace(number: int, old: str | None = old, together: threading.Barrier = together) -> bool:
            mine, ours = record(number), StoreWriter.open(root, spec)
            together.wait(60)
            return ours.write_record(mine, replaces=old)

        with ThreadPoolExecutor(4) as threads:
            numbers = range(1 + 4 * round_, 5 + 4 * round_)
            assert any(threads.map(replace, numbers))
        assert int(version(root)) in numbers
        assert verify(root).problems == []


@pytest.mark.parametrize("fault", ["not finite", "does not match its digest"])
def test_an_invalid_replacement_leaves_the_old_record(
    fault: str, root: str, writer: StoreWriter, record: Callable[[int], Record], monkeypatch: pytest.MonkeyPatch
) -> None:
    new, expected, digest = record(1), "NaN or infinite", None
    if fault == "not finite":
        new.stored[1, 3, 2] = np.nan
    else:
        expected = digest = fault
    with pytest.raises(StoreError, match=expected):
        writer.write_record(new, digest=digest, replaces=writer.digest("a", 0))
    assert version(root) == "0"
    assert verify(root).problems == []


def test_a_full_disk_leaves_the_old_record(
    small_disk: Path, spec: Spec, record: Callable[[int], Record], make_frames: Make
) -> None:
    writer = StoreWriter.open(small_disk / "s.zarr", spec)
    writer.write_record(record(0))
    large = encode_record(spec, "a", 0, make_frames(frames=60_000), {"source": "sha256:9"})
    with pytest.raises(StoreError, match="No space left"):
        writer.write_record(large, replaces=writer.digest("a", 0))
    assert version(writer.root) == "0"


def test_stale_records_are_reported_and_removed(root: str, writer: StoreWriter, make_frames: Make) -> None:
    writer.write("b", 0, make_frames(5), attributes={"source": "sha256:b"})

    def outdated(attributes: Any) -> str:
        return "its song was replaced" if attributes["source"] == "sha256:0" else ""

    assert verify(root).problems == []
    found = verify(root, outdated=outdated)
    assert [(problem.path, problem.kind, problem.detail) for problem in found.problems] == [
        (PATH, "stale", "its song was replaced")
    ]
    assert found.records == 1
    assert [problem.removed for problem in verify(root, repair=True, outdated=outdated).problems] == [True]
    assert EmbeddingStore.open(root).songs == ("b",)


def test_a_stale_record_that_was_replaced_meanwhile_is_kept(
    root: str, writer: StoreWriter, record: Callable[[int], Record]
) -> None:
    def outdated(attributes: Any) -> str:
        return "replaced" if attributes["source"] == "sha256:0" else ""

    def meanwhile(paths: list[str]) -> Iterator[str]:
        yield from paths
        assert writer.write_record(record(1), replaces=writer.digest("a", 0))

    assert verify(root, repair=True, outdated=outdated, progress=meanwhile).problems == []
    assert version(root) == "1"


def test_a_record_replaced_during_its_check_is_not_damaged(
    root: str, writer: StoreWriter, record: Callable[[int], Record]
) -> None:
    def meanwhile(paths: list[str]) -> Iterator[str]:
        assert writer.write_record(record(1), replaces=writer.digest("a", 0))
        yield from paths

    assert verify(root, progress=meanwhile).problems == []
