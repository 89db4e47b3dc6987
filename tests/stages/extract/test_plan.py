"""Plans of extractions: missing views, and views of files that were replaced."""

from pathlib import Path

import numpy as np
import pytest

from stages.extract.freshness import Freshness
from stages.extract.plan import SongTask, plan_extraction
from stages.songs import Song
from store import EmbeddingStore, Spec, StoreWriter, index
from store.backends.local import LocalObjects
from store.backends.remote import RemoteObjects
from store.format.keys import RECORDS

SPEC = Spec(streams=("a",), channels=2, encoders={}, layers=(1,))
SONGS = [Song("a", Path("a.wav"), "train"), Song("b", Path("b.wav"), "val"), Song("c", Path("c.wav"), "train")]


def test_without_a_store_everything_is_missing() -> None:
    plan = plan_extraction(SONGS, augment=1, rows={}, sources=Freshness())
    assert [(task.song_id, task.views) for task in plan.tasks] == [("a", (0, 1)), ("b", (0,)), ("c", (0, 1))]
    assert (plan.records, plan.stored, plan.replaced_frames) == (5, 0, 0)


@pytest.fixture(params=["{folder}/s.zarr", "memory://{folder}/s.zarr"])
def filled(request: pytest.FixtureRequest, tmp_path: Path) -> EmbeddingStore:
    """Complete songs a and b, c with only view 1, and a song outside the manifest; three frames each."""
    writer = StoreWriter.open(request.param.format(folder=tmp_path), SPEC)
    for song, view in (("a", 0), ("a", 1), ("b", 0), ("c", 1), ("another", 0)):
        writer.write(song, view, np.ones((1, 3, 2), np.float32), attributes={})
    index(writer.root)
    return EmbeddingStore.open(writer.root)


def test_one_listing_finds_missing_views(filled: EmbeddingStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def asked(self: object, key: str, **limits: int) -> bytes | None:
        assert not key.startswith(RECORDS), "a request for one record"
        return get[type(self)](self, key, **limits)

    get = {objects: objects.get for objects in (LocalObjects, RemoteObjects)}
    for objects in get:
        monkeypatch.setattr(objects, "exists", asked)
        monkeypatch.setattr(objects, "get", asked)
    plan = plan_extraction(SONGS, augment=1, rows=filled.rows, sources=Freshness())
    assert plan.tasks == (SongTask("c", Path("c.wav"), (0,)),)
    assert plan.stored == 4


def test_all_stored_views_of_a_changed_song_are_made_again(filled: EmbeddingStore) -> None:
    rows = filled.rows
    sources = Freshness(stale=frozenset({("a", 0), ("a", 1), ("c", 1)}))
    plan = plan_extraction(SONGS, augment=0, rows=rows, sources=sources)
    assert plan.tasks == (
        SongTask("a", Path("a.wav"), (0, 1), {0: rows["a", 0].digest, 1: rows["a", 1].digest}),
        SongTask("c", Path("c.wav"), (0, 1), {1: rows["c", 1].digest}),
    )
    assert (plan.records, plan.stored, plan.replaced_frames) == (4, 1, 9)


def test_partly_replaced_songs_are_resumed(filled: EmbeddingStore) -> None:
    plan = plan_extraction(SONGS[:1], augment=1, rows=filled.rows, sources=Freshness(stale=frozenset({("a", 1)})))
    assert [task.views for task in plan.tasks] == [(1,)]
    assert plan.stored == 1
