"""Verification: no byte can change unnoticed."""

import errno
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from store import EmbeddingStore, Spec, StoreError, StoreWriter, cache_summaries, index, prune, verify
from store.backends.opening import open_objects
from store.format.keys import METADATA, SHARD, record_path

Fill = Callable[..., str]
Files = Callable[[str], dict[str, bytes]]


@pytest.mark.parametrize("dtype", ["float16", "int8"])
def test_every_flipped_byte_is_found(dtype: str, fill: Fill, files_of: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("store.format.arrays._READ_PAUSE", 0.0)
    monkeypatch.setattr("store.format.rereading.PAUSE", 0.0)
    root = fill(songs=("a",), views=1, dtype=dtype)
    record = record_path("a", 0)
    assert verify(root).problems == []
    for key, data in files_of(root).items():
        if not key.startswith(record):
            continue
        for place in range(len(data)):
            flipped = bytearray(data)
            flipped[place] ^= 1 << (place % 8)
            Path(root, key).write_bytes(flipped)
            found = verify(root)
            assert [(problem.path, problem.kind) for problem in found.problems] == [(record, "damaged")], (key, place)
        Path(root, key).write_bytes(data)
    assert verify(root).problems == []


def test_every_flipped_byte_of_the_root_is_refused(fill: Fill, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("store.format.rereading.PAUSE", 0.0)
    root = Path(fill(songs=("a",), views=1), "zarr.json")
    data = root.read_bytes()
    for place in range(len(data)):
        flipped = bytearray(data)
        flipped[place] ^= 1 << (place % 8)
        root.write_bytes(flipped)
        with pytest.raises(StoreError, match=r"zarr|digest|format|document"):
            EmbeddingStore.open(root.parent)


def test_damaged_records_are_restored_by_a_rerun(fill: Fill, files_of: Files) -> None:
    root = fill()
    before = files_of(root)
    shards = sorted(key for key in before if key.endswith(SHARD))
    Path(root, shards[0]).write_bytes(before[shards[0]][:-1])
    Path(root, shards[1]).unlink()
    Path(root, shards[2]).with_name("1").write_bytes(b"foreign")
    report = verify(root, repair=True)
    assert (report.records, len(report.problems), all(problem.removed for problem in report.problems)) == (2, 3, True)
    assert len(EmbeddingStore.open(root)) == 2
    fill()
    after = {key: data for key, data in files_of(root).items() if not key.startswith("catalogue")}
    assert after == before


def test_messages(fill: Fill) -> None:
    root = fill(songs=("a", "b", "c", "d"), views=1)
    place = {song: Path(root, record_path(song, 0)) for song in "abcd"}
    (place["a"] / SHARD).unlink()
    with (place["b"] / SHARD).open("ab") as file:
        file.write(b"more")
    shutil.rmtree(place["c"])
    shutil.copytree(place["d"], place["c"])
    details = {problem.path: problem.detail for problem in verify(root).problems}
    assert details == {
        record_path("a", 0): "the data is missing",
        record_path("b", 0): "the data has 688 bytes, expected 684",
        record_path("c", 0): "zarr.json: belongs to song 'd' view 0, which has another path",
    }


def test_values_that_are_not_finite_and_records_of_another_store(
    tmp_path: Path, spec: Spec, fill: Fill, make_frames: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    root, other = fill(songs=("a",), views=1), fill("other.zarr", songs=("b",), views=1, seed=4)
    shutil.copytree(Path(other, record_path("b", 0)), Path(root, record_path("b", 0)))
    monkeypatch.setattr("store.format.quantisation.all_finite", lambda values: True)
    monkeypatch.setattr("store.format.arrays.block_finite", lambda block: True)
    frames = make_frames().astype(np.float16)
    frames[0, 0, 0] = np.nan
    StoreWriter.open(root, spec).write("c", 0, frames, attributes={})
    details = {problem.path: problem.detail for problem in verify(root).problems}
    assert details[record_path("c", 0)] == "values are NaN or infinite"
    assert details[record_path("b", 0)].startswith("zarr.json: spec: expected")
    with pytest.raises(StoreError, match=r"spec: expected .* run hear-store verify --repair"):
        EmbeddingStore.open(root).read("b")
    with pytest.raises(StoreError, match="spec: expected"):
        len(EmbeddingStore.open(root))


def failing(*arguments: Any, **options: Any) -> Any:
    raise OSError(errno.EIO, os.strerror(errno.EIO))


@pytest.mark.parametrize("place", ["local", "memory"])
def test_unreadable_records_are_reported_and_kept(
    place: str, tmp_path: Path, spec: Spec, make_frames: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    root = str(tmp_path / "store") if place == "local" else f"memory://{uuid.uuid4().hex}"
    for song in "ab":
        StoreWriter.open(root, spec).write(song, 0, make_frames(), attributes={})
    objects = open_objects(root)
    objects.delete(f"{record_path('b', 0)}/{SHARD}")
    with monkeypatch.context() as patch:
        patch.setattr("store.upkeep.verification._PAUSES", (0.0,))
        patch.setattr("store.backends.local._read_all", failing)
        patch.setattr("fsspec.implementations.memory.MemoryFileSystem.cat_ranges", failing)
        found = {problem.path: problem for problem in verify(root, repair=True).problems}
    kinds = {path: (problem.kind, problem.removed) for path, problem in found.items()}
    assert kinds == {record_path("a", 0): ("unreadable", False), record_path("b", 0): ("damaged", True)}
    assert "cannot read: Input/output error" in found[record_path("a", 0)].detail.replace("[Errno 5] ", "")
    assert (verify(root).records, verify(root).problems) == (1, [])


def test_a_record_rewritten_during_verification_is_kept(
    fill: Fill, spec: Spec, make_frames: Callable[..., Any]
) -> None:
    root = fill(songs=("a", "b"), views=1)
    objects = open_objects(root)
    for song in "ab":
        objects.delete(f"{record_path(song, 0)}/{SHARD}")

    def make_anew(paths: list[str]) -> Iterator[str]:
        yield from paths
        prune(root, songs=["b"])
        assert StoreWriter.open(root, spec).write("b", 0, make_frames(), attributes={})

    found = verify(root, repair=True, progress=make_anew)
    assert [(problem.path, problem.removed) for problem in found.problems] == [(record_path("a", 0), True)]
    assert EmbeddingStore.open(root).songs == ("b",)
    assert verify(root).problems == []


def test_a_broken_link_is_foreign(fill: Fill) -> None:
    root = fill()
    Path(root, "records", "link").symlink_to("nowhere")
    assert [(problem.path, problem.kind) for problem in verify(root).problems] == [("records/link", "foreign")]
    assert [problem.removed for problem in verify(root, repair=True).problems] == [True]
    assert not Path(root, "records", "link").is_symlink()


def test_a_damaged_catalogue_is_reported_and_removed(fill: Fill) -> None:
    root = fill()
    cache_summaries(root)
    summary = EmbeddingStore.open(root).summary()
    index, part = Path(root, "catalogue/index.json"), Path(root, "catalogue/summaries/0")
    index.write_bytes(index.read_bytes().replace(b'"a"', b'"q"'))
    shard = bytearray((part / SHARD).read_bytes())
    shard[5] ^= 1
    (part / SHARD).write_bytes(shard)
    store = EmbeddingStore.open(root)
    assert store.songs == ("a", "b")
    np.testing.assert_array_equal(store.summary().values, summary.values)
    found = verify(root, repair=True)
    assert [problem.path for problem in found.problems] == ["catalogue/index.json", "catalogue/summaries/0"]
    assert found.records == 4
    assert not (part / METADATA).exists()
    assert verify(root).problems == []


def test_a_missing_record_is_noticed_through_the_catalogue(fill: Fill) -> None:
    root = fill()
    index(root)
    shutil.rmtree(Path(root, record_path("a", 0)))
    (Path(root, record_path("b", 1)) / METADATA).unlink()
    found = {problem.path: (problem.kind, problem.detail) for problem in verify(root, repair=True).problems}
    assert found == {
        record_path("a", 0): ("missing", "song 'a' view 0 is in the catalogue but not in the store"),
        record_path("b", 1): (
            "unfinished",
            "data without zarr.json: its writer stopped or is still writing; the next write removes it",
        ),
    }
    assert verify(root).problems == []
    assert len(EmbeddingStore.open(root)) == 2
