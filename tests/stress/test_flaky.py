"""Stores on a network that gives short and wrong bytes: right answers or a network error, and no record lost."""

import uuid
from typing import Any

import numpy as np
import pytest

from store import EmbeddingStore, Spec, StoreWriter, cache_summaries, index, merge, prune, verify
from store.backends.opening import open_objects
from store.format.keys import METADATA, SHARD, record_path
from tests.flaky import at_random, attempt, flaky

SPEC = Spec(streams=("x", "y"), channels=4, encoders={"muq": "sha256:aa"}, layers=(10,))
SONGS = "abcdef"


def records(root: str) -> dict[str, bytes]:
    store = EmbeddingStore.open(root)
    return {song: store.read(song).tobytes() for song in store.songs}


def test_a_flaky_network(campaign: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("store.backends.remote.RemoteObjects.wait_seconds", 0.02)
    for rng in campaign:
        root, target = (f"memory://{uuid.uuid4().hex}/s.zarr" for _ in range(2))
        writer = StoreWriter.open(root, SPEC)
        for song in SONGS:
            frames = np.random.default_rng(ord(song)).standard_normal((2, 5, 4)).astype(np.float32)
            writer.write(song, 0, frames, attributes={})
        cache_summaries(root)
        before, objects = records(root), open_objects(root)
        damaged = {song for song in SONGS if rng.random() < 0.2}
        for song in damaged:
            key = f"{record_path(song, 0)}/{rng.choice([METADATA, SHARD])}"
            data = bytearray(objects.get(key) or b"")
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
            objects.put(key, [bytes(data)])
        pruned: list[tuple[str, int]] = []
        works = [
            lambda root=root: verify(root, repair=True),
            lambda root=root, pruned=pruned: prune(root, songs=["a"], removed=pruned.append),
            lambda root=root, target=target: merge([root], target),
            lambda root=root: cache_summaries(root),
            lambda root=root: index(root),
        ]
        rng.shuffle(works)
        with flaky(at_random(rng, rate=rng.choice([0.05, 0.2, 0.5]))):
            for work in works:
                # Really damaged records and removed songs are errors, too.
                campaign.count("done" if attempt(work, also_damage=True) else "refused")
        verify(root, repair=True)
        gone = damaged | {song for song, _ in pruned}
        assert records(root) == {song: data for song, data in before.items() if song not in gone}
        if open_objects(target).exists(METADATA):
            verify(target, repair=True)
            assert records(target).items() <= before.items()
        for place in (open_objects(root), open_objects(target)):
            for entry in list(place.find()):
                place.delete(entry.key)
