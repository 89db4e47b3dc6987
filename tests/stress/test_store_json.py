"""Random changes of any JSON in a store, with a valid digest or not: other records stay unchanged."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from store import EmbeddingStore, Spec, StoreWriter, cache_summaries, verify
from store.backends.local import LocalObjects
from store.format.keys import METADATA, ROOT, record_path
from store.sources import SeenFile, write_seen_files
from tests.store.hostile import TEXTS, VALUES, attempt, change_json, places, put, use, within

SONGS = ("a", "b", "c")


@pytest.fixture(scope="module", params=["float16", "int8"])
def good(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with all kinds of objects."""
    root = tmp_path_factory.mktemp("good") / "store.zarr"
    spec = Spec(
        streams=("x/segment", "muq/track"), channels=8, encoders={"muq": "b"}, layers=(10,), dtype=request.param
    )
    writer = StoreWriter.open(root, spec, encoders_from={"muq": {"kind": "folder"}})
    for number, song in enumerate(SONGS):
        frames = np.random.default_rng(number).standard_normal((2, 20, 8)).astype(np.float32)
        about = {"seconds": 0.8, "source": "sha256:1", "source_size": 5, "source_mtime_ns": 6, "drawn": {"gain": [1.5]}}
        writer.write(song, 0, frames, attributes=about)
    write_seen_files(str(root), {"a": SeenFile("sha256:1", 1, 2)})
    cache_summaries(str(root))
    return root


def test_changed_documents(good: Path, tmp_path: Path, campaign: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LocalObjects, "wait_seconds", 0.02)
    monkeypatch.setattr("store.format.arrays._READ_PAUSE", 0.001)
    values = {song: EmbeddingStore.open(good).read(song) for song in SONGS}
    keys = sorted(path.relative_to(good) for path in good.rglob("*.json"))
    for rng in campaign:
        root, merged = tmp_path / "store.zarr", tmp_path / "merged.zarr"
        shutil.copytree(good, root)
        key = rng.choice(keys)
        document = root / key
        if rng.random() < 0.2:
            document.write_bytes(rng.choice([*TEXTS.values()]))
        elif rng.random() < 0.2:
            data = bytearray(document.read_bytes())
            for _ in range(rng.randrange(1, 4)):
                data[rng.randrange(len(data))] = rng.randrange(256)
            document.write_bytes(data)
        else:
            place = rng.choice([*places(json.loads(document.read_bytes()))])
            value = rng.choice([*VALUES, rng.randrange(-(2**70), 2**70), rng.gauss(0, 1e9)])
            change_json(document, lambda found: put(found, place, value), seal=rng.random() < 0.8)  # noqa: B023
        with within(30):
            errors = use(str(root), merged)
            campaign.count("uses", 11)
            campaign.count("refused uses", len(errors))
            if key != Path(ROOT):
                touched = {song for song in SONGS if str(_record(song)) in str(key)}
                assert attempt(lambda: verify(str(root), repair=True)) == ""  # noqa: B023
                store = EmbeddingStore.open(root)
                for song in {*SONGS} - touched:
                    np.testing.assert_array_equal(store.read(song), values[song])
                assert set(store.songs) | touched == set(SONGS)
                assert verify(str(root)).problems == []
            else:
                attempt(lambda: verify(str(root), repair=True))  # noqa: B023
        for folder in (root, merged):
            shutil.rmtree(folder, ignore_errors=True)


def _record(song: str) -> Path:
    return Path(record_path(song, 0), METADATA)
