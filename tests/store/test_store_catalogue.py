"""The catalogue: which objects opening a store reads, and which of them it trusts."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from store import EmbeddingStore, Spec, StoreWriter, cache_summaries, index, prune
from store.backends.local import LocalObjects
from store.backends.opening import open_objects
from store.format.keys import DEPTH, INDEX, METADATA, RECORDS, ROOT, SHARD


def test_opening_reads_no_indexed_record(fill: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    """So 20,000 records open in less than a second, which the benchmark measures."""
    root = fill(songs=tuple(str(number) for number in range(100)))
    index(root)
    read: list[str] = []
    get = LocalObjects.get
    monkeypatch.setattr(LocalObjects, "get", lambda self, key, **limit: [read.append(key), get(self, key, **limit)][1])
    monkeypatch.setattr(LocalObjects, "read_into", None)
    assert len(EmbeddingStore.open(root)) == 200
    assert sorted(read) == [INDEX, ROOT]


def test_opening_reads_only_new_records(
    fill: Callable[..., str], spec: Spec, make_frames: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    root = fill()
    index(root)
    StoreWriter.open(root, spec).write("c", 0, make_frames(), attributes={})
    prune(root, songs=["b"], views=[0])
    StoreWriter.open(root, spec).write("b", 0, make_frames(8, frames=9), attributes={})
    read: list[str] = []
    get = LocalObjects.get
    monkeypatch.setattr(LocalObjects, "get", lambda self, key, **limit: [read.append(key), get(self, key, **limit)][1])
    store = EmbeddingStore.open(root)
    assert store.rows["b", 0].frames == 9
    assert sum(key.endswith(METADATA) and key.startswith(RECORDS) for key in read) == 1


def test_summary_parts(
    fill: Callable[..., str], monkeypatch: pytest.MonkeyPatch, files_of: Callable[[str], dict[str, bytes]]
) -> None:
    root = fill(songs=tuple("abcde"), views=1)
    plain = EmbeddingStore.open(root).summary().values
    monkeypatch.setattr("store.summary.PART_RECORDS", 2)
    assert cache_summaries(root) == 5
    assert sorted(key for key in files_of(root) if key.endswith(SHARD) and "summaries" in key) == [
        f"catalogue/summaries/{part}/{SHARD}" for part in range(3)
    ]
    monkeypatch.setattr("store.summary.get_record", None)
    np.testing.assert_array_equal(EmbeddingStore.open(root).summary().values, plain)
    prune(root, songs=["a", "b", "c"])
    cache_summaries(root)
    assert [entry.key for entry in open_objects(root).find_named("catalogue/summaries", depth=1, name=METADATA)] == [
        f"catalogue/summaries/0/{METADATA}"
    ]


def test_pooled_and_quantised_stores_say_so(fill: Callable[..., str], spec: Spec) -> None:
    store = EmbeddingStore.open(fill(pool=3, dtype="int8"))
    assert store.frame_rate == pytest.approx(25 / 3)
    assert store.spec == replace(spec, pool=3, dtype="int8")
    assert store.summary().values.dtype == np.float32


def test_listing_skips_other_objects(fill: Callable[..., str]) -> None:
    root = Path(fill(songs=("a",), views=1))
    (root / RECORDS / "README").write_text("mine")
    (root / RECORDS / "00" / "x" / "y").mkdir(parents=True)
    objects = open_objects(str(root))
    assert len(list(objects.find_named(RECORDS, depth=DEPTH, name=METADATA))) == 1
