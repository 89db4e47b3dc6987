"""Audio files in the catalogue: from the records, and from hashing later."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from store import EmbeddingStore, Spec, StoreWriter, index, verify
from store.backends.opening import open_objects
from store.catalogue import CatalogueRow
from store.format.keys import INDEX, SOURCES
from store.format.metadata import sealed
from store.sources import SeenFile, read_seen_files, write_seen_files

Make = Callable[..., Any]
FILE = {"source": "sha256:a", "source_size": 12, "source_mtime_ns": 1_764_000_000_123_456_789}


@pytest.mark.parametrize("indexed", [False, True])
@pytest.mark.parametrize(
    ("attributes", "known"),
    [
        (FILE, tuple(FILE.values())),
        ({"source": "sha256:a"}, ("sha256:a", None, None)),
        ({}, (None, None, None)),
        ({"source": 5, "source_size": "12", "source_mtime_ns": [1]}, (None, None, None)),
    ],
)
def test_rows_name_the_audio_file_of_a_record(
    root: str, spec: Spec, make_frames: Make, attributes: dict[str, Any], known: tuple[Any, ...], indexed: bool
) -> None:
    StoreWriter.open(root, spec).write("a", 0, make_frames(), attributes=attributes)
    if indexed:
        index(root)
    row = EmbeddingStore.open(root).rows["a", 0]
    assert (row.source, row.source_size, row.source_mtime_ns) == known


@pytest.mark.parametrize("lacking", CatalogueRow._fields)
def test_an_index_of_an_older_version_is_ignored(root: str, spec: Spec, make_frames: Make, lacking: str) -> None:
    StoreWriter.open(root, spec).write("a", 0, make_frames(), attributes=FILE)
    before = EmbeddingStore.open(root).rows
    index(root)
    objects = open_objects(root)
    document = json.loads(objects.get(INDEX) or b"")
    del document["columns"][lacking]
    objects.put(INDEX, [sealed(document)])
    assert EmbeddingStore.open(root).rows == before
    assert verify(root).problems == []


def test_seen_files_round_trip(root: str, spec: Spec) -> None:
    StoreWriter.open(root, spec)
    assert read_seen_files(root) == {}
    seen = {"Größe\n🎵": SeenFile("sha256:a", 3, 1_764_000_000_123_456_789), "b": SeenFile("sha256:b", 4, 5)}
    write_seen_files(root, seen)
    assert read_seen_files(root) == seen
    assert verify(root).problems == []


@pytest.mark.parametrize("text", [b"no JSON", b"{}", b'{"columns": {"song_id": ["a"]}}'])
def test_damaged_seen_files_are_ignored_reported_and_removed(tmp_path: Path, spec: Spec, text: bytes) -> None:
    root = StoreWriter.open(tmp_path / "s.zarr", spec).root
    write_seen_files(root, {"a": SeenFile("sha256:a", 3, 4)})
    (Path(root) / SOURCES).write_bytes(text)
    assert read_seen_files(root) == {}
    found = verify(root, repair=True).problems
    assert [(problem.path, problem.kind, problem.removed) for problem in found] == [(SOURCES, "damaged", True)]
    assert verify(root).problems == []
