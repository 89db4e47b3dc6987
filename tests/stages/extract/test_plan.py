"""What is to be extracted: asked of a store once, however many records there are."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest

from stages.extract.plan import SongTask, plan_extraction
from stages.songs import Song
from store import Spec, StoreWriter
from store.local import LocalObjects
from store.remote import RemoteObjects

SPEC = Spec(streams=("a",), channels=2, encoders={}, layers=(1,))
SONGS = [Song("a", Path("a.wav"), "train"), Song("b", Path("b.wav"), "val"), Song("c", Path("c.wav"), "train")]


def test_without_a_store_everything_is_missing() -> None:
    plan = plan_extraction(SONGS, augment=1, records=None)
    assert [(task.song_id, task.views) for task in plan.tasks] == [("a", (0, 1)), ("b", (0,)), ("c", (0, 1))]
    assert (plan.records, plan.stored) == (5, 0)


@pytest.mark.parametrize("place", ["{folder}/s.zarr", "memory://{folder}/s.zarr"])
def test_one_listing_tells_what_a_store_lacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    writer = StoreWriter.open(place.format(folder=tmp_path), SPEC)
    for song, view in (("a", 0), ("a", 1), ("b", 0), ("c", 1), ("another", 0)):
        writer.write(song, view, np.ones((1, 3, 2), np.float32), attributes={})

    def exists(self: object, key: str) -> bool:
        raise AssertionError("a request for one record")

    for objects in (LocalObjects, RemoteObjects):
        monkeypatch.setattr(objects, "exists", exists)
    plan = plan_extraction(SONGS, augment=1, records=writer)
    assert plan.tasks == (SongTask("c", Path("c.wav"), (0,)),)
    assert plan.stored == 4


def test_a_store_is_asked_once() -> None:
    asked: list[list[tuple[str, int]]] = []

    class Records:
        def existing(self, records: Iterable[tuple[str, int]]) -> set[tuple[str, int]]:
            asked.append(list(records))
            return set()

    plan_extraction(SONGS, augment=1, records=Records())
    assert asked == [[("a", 0), ("a", 1), ("b", 0), ("c", 0), ("c", 1)]]
