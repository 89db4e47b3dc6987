"""A network that gives short or wrong bytes costs no record: unreadable records are reported and kept."""

import random
import uuid
from collections.abc import Callable
from typing import Any

import pytest

from store import EmbeddingStore, Spec, StoreWriter, index, merge, prune, verify
from store.backends.opening import open_objects
from store.errors import StoreAccessError
from store.format.keys import INDEX, METADATA, SHARD, record_path
from store.summary import cache_summaries
from store.upkeep.verification import Damage
from tests.flaky import at_random, attempt, cut, flaky

Make = Callable[..., Any]
SONGS = "abcd"


@pytest.fixture
def remote(spec: Spec, make_frames: Make, monkeypatch: pytest.MonkeyPatch) -> str:
    """Songs a, b, c and d with one view each, and a catalogue."""
    monkeypatch.setattr("store.backends.remote.RemoteObjects.wait_seconds", 0.05)
    root = f"memory://{uuid.uuid4().hex}/s.zarr"
    writer = StoreWriter.open(root, spec)
    for number, song in enumerate(SONGS):
        writer.write(song, 0, make_frames(number, frames=5), attributes={"seconds": 1.0})
    cache_summaries(root)
    return root


def damage(root: str, key: str) -> None:
    objects = open_objects(root)
    data = bytearray(objects.get(key) or b"")
    data[len(data) // 3] ^= 1
    objects.put(key, [bytes(data)])


@pytest.mark.parametrize("kinds", ["short", "wrong", "short wrong long error"])
def test_a_repair_removes_only_damaged_records(kinds: str, remote: str, contents: Make) -> None:
    damage(remote, f"{record_path('a', 0)}/{SHARD}")
    damage(remote, f"{record_path('b', 0)}/{METADATA}")
    good = {(song, 0) for song in "cd"}
    before = {key: EmbeddingStore.open(remote).read(*key).tobytes() for key in good}
    removed: list[Damage] = []
    for seed in range(8):
        with flaky(at_random(random.Random(seed), rate=0.6, kinds=kinds)):
            attempt(lambda: verify(remote, repair=True, removed=removed.append))
    assert {problem.path for problem in removed} <= {record_path("a", 0), record_path("b", 0), INDEX}
    assert {problem.path for problem in verify(remote, repair=True).problems} <= {
        record_path("a", 0),
        record_path("b", 0),
        INDEX,
    }
    assert {key: data for key, (data, _) in contents(remote).items()} == before


@pytest.mark.parametrize("name", [METADATA, SHARD, "index"])
def test_a_body_that_always_ends_early_is_unreadable(name: str, remote: str, contents: Make) -> None:
    before, path = contents(remote), record_path("a", 0)
    key = INDEX if name == "index" else f"{path}/{name}"
    with flaky(lambda where, data: cut(where, data) if where.endswith(key) else data):
        found = verify(remote, repair=True)
        if name != "index":
            with pytest.raises(StoreAccessError, match=r"cannot read: expected \d+ bytes, got \d+; try again"):
                EmbeddingStore.open(remote).read("a")
    assert [(one.path, one.kind, one.removed) for one in found.problems] == [
        (INDEX if name == "index" else path, "unreadable", False)
    ]
    assert contents(remote) == before
    assert not verify(remote).problems


def test_a_truncated_root_is_not_reported_as_another_format(remote: str, spec: Spec) -> None:
    with flaky(lambda where, data: cut(where, data) if where.endswith("s.zarr/zarr.json") else data):
        with pytest.raises(StoreAccessError, match=r"s\.zarr/zarr\.json: cannot read: expected \d+ bytes, got \d+"):
            EmbeddingStore.open(remote)
        with pytest.raises(StoreAccessError, match=r"bytes, got \d+"):
            StoreWriter.open(remote, spec)


def test_a_short_reading_is_repeated(remote: str, contents: Make) -> None:
    before, seen = contents(remote), set[str]()

    def short_once(path: str, data: bytes) -> bytes:
        first = path not in seen
        seen.add(path)
        return data[:-1] if first else data

    with flaky(short_once):
        assert verify(remote, repair=True).problems == []
        seen.clear()
        assert contents(remote) == before


@pytest.mark.parametrize("seed", range(3))
def test_pruning_and_merging_succeed_or_fail(seed: int, remote: str, contents: Make) -> None:
    before, removed = contents(remote), list[tuple[str, int]]()
    target = f"memory://{uuid.uuid4().hex}/t.zarr"
    with flaky(at_random(random.Random(seed), rate=0.2)):
        for work in (
            lambda: merge([remote], target),
            lambda: index(remote),
            lambda: prune(remote, songs=["a", "c"], removed=removed.append),
        ):
            attempt(work)
    assert contents(remote) == {key: value for key, value in before.items() if key not in removed}
    assert set(removed) <= {("a", 0), ("c", 0)}
    if open_objects(target).exists(METADATA):
        verify(target, repair=True)
        assert contents(target).items() <= before.items()


def test_an_unreadable_shard_with_a_new_zarr_json_is_kept(remote: str) -> None:
    """`delete_unless` must put back the whole object if a writer comes in between."""
    objects, path = open_objects(remote), record_path("a", 0)
    document = objects.get(f"{path}/{METADATA}") or b""
    objects.delete(f"{path}/{METADATA}")

    def come_back(where: str, data: bytes) -> bytes:
        if where.endswith(f"{path}/{SHARD}"):
            objects.put(f"{path}/{METADATA}", [document])
            return data[:-1]
        return data

    with flaky(come_back):
        objects.delete_unless(f"{path}/{SHARD}", f"{path}/{METADATA}")
    assert not verify(remote).problems


def test_records_that_a_repair_could_not_sweep_are_not_reported_as_removed(remote: str) -> None:
    path = record_path("a", 0)
    open_objects(remote).delete(f"{path}/{METADATA}")
    removed: list[Damage] = []
    with flaky(lambda where, data: cut(where, data) if where.endswith(f"{path}/{SHARD}") else data):
        found = verify(remote, repair=True, removed=removed.append)
    assert [(problem.kind, problem.removed) for problem in found.problems] == [("unfinished", False)]
    assert not removed
    assert [problem.removed for problem in verify(remote, repair=True, removed=removed.append).problems] == [True]
    assert [problem.kind for problem in removed] == ["unfinished"]
