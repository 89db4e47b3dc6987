"""Merging and pruning, also when interrupted."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from store import EmbeddingStore, Spec, StoreError, StoreWriter, merge, prune, verify

Fill = Callable[..., str]


class StopError(Exception):
    """Raised as an interruption."""


def stopping(items: Any) -> Any:
    for number, item in enumerate(items):
        if number == 3:
            raise StopError("stop")
        yield item


def test_merging_the_same_records_twice_copies_them_once(fill: Fill, contents: Callable[..., Any]) -> None:
    first, second = fill("1", songs=("a", "b")), fill("2", songs=("b", "c"))
    report = merge([first, second], first + "-all")
    assert (report.copied, report.kept) == (6, 2)
    assert contents(first + "-all") == contents(first) | contents(second)
    assert merge([first, second], first + "-all").copied == 0


def test_a_merge_into_a_source_adds_to_it(fill: Fill) -> None:
    first, second = fill("1", songs=("a",)), fill("2", songs=("c",))
    assert merge([second], first).copied == 2
    assert EmbeddingStore.open(first).songs == ("a", "c")


def test_stores_with_different_data_are_not_merged(
    fill: Fill, tmp_path: Path, spec: Spec, make_frames: Callable[..., Any]
) -> None:
    first = fill("1")
    other = StoreWriter.open(tmp_path / "2", spec)
    other.write("z", 0, make_frames(), attributes={})
    other.write("a", 1, make_frames(55), attributes={})
    with pytest.raises(StoreError, match=r"song 'a' view 1 differs between .*1 and .*2; prune it from one"):
        merge([first, other.root], str(tmp_path / "3"))
    assert len(EmbeddingStore.open(tmp_path / "3")) == 0


def test_other_attributes_may_differ_if_the_data_agrees(fill: Fill, tmp_path: Path, spec: Spec) -> None:
    first = fill("1", songs=("a",), views=1)
    store = EmbeddingStore.open(first)
    other = StoreWriter.open(tmp_path / "2", spec)
    other.write("a", 0, store.read("a"), attributes={"batch": 1})
    assert merge([first, other.root], str(tmp_path / "3")).copied == 1
    assert EmbeddingStore.open(tmp_path / "3").attributes("a") == store.attributes("a")


def test_other_specs_are_not_merged(fill: Fill) -> None:
    first, second = fill("1"), fill("2", seed=3)
    with pytest.raises(StoreError, match="2: another spec: seed: expected 0, found 3"):
        merge([first, second], first + "-all")
    with pytest.raises(StoreError, match="1: another spec: seed"):
        merge([second], first)
    with pytest.raises(StoreError, match="at least one source"):
        merge([], first)


def test_an_interrupted_merge_continues(fill: Fill, contents: Callable[..., Any]) -> None:
    first, second = fill("1"), fill("2", songs=("c",))
    with pytest.raises(StopError, match="stop"):
        merge([first, second], first + "-all", progress=stopping)
    assert verify(first + "-all").records == 3
    assert merge([first, second], first + "-all").copied == 3
    assert contents(first + "-all") == contents(first) | contents(second)


def test_prune_songs_views_or_views_of_songs(fill: Fill) -> None:
    root = fill(songs=("a", "b", "c"), views=3)
    assert prune(root, songs=["a"], views=[1, 2], dry_run=True) == [("a", 1), ("a", 2)]
    assert len(EmbeddingStore.open(root)) == 9
    assert prune(root, songs=["a"], views=[1, 2]) == [("a", 1), ("a", 2)]
    assert prune(root, views=[2]) == [("b", 2), ("c", 2)]
    assert prune(root, songs=["c"]) == [("c", 0), ("c", 1)]
    assert list(EmbeddingStore.open(root)) == [("a", 0), ("b", 0), ("b", 1)]


def test_pruned_records_leave_no_objects(fill: Fill, files_of: Callable[..., Any]) -> None:
    root = fill()
    prune(root, views=[0, 1])
    assert sorted(files_of(root)) == ["catalogue/index.json", "zarr.json"]
    assert not Path(root, "records").exists()


def test_prune_refuses_unclear_requests(fill: Fill) -> None:
    with pytest.raises(StoreError, match="needs songs or views"):
        prune(fill())
    with pytest.raises(StoreError, match="no song 'q'; nothing was removed"):
        prune(fill(), songs=["a", "q"])
    assert len(EmbeddingStore.open(fill())) == 4


def test_an_interrupted_prune_continues(fill: Fill) -> None:
    root = fill(songs=("a", "b", "c"))
    with pytest.raises(StopError, match="stop"):
        prune(root, songs=["a", "b"], progress=stopping)
    assert list(EmbeddingStore.open(root)) == [("b", 1), ("c", 0), ("c", 1)]
    assert verify(root).problems == []
    assert prune(root, songs=["b"]) == [("b", 1)]
