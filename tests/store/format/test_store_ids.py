"""Any song id, any shape."""

import unicodedata
import uuid
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from store import EmbeddingStore, Spec, StoreWriter, export_hdf5, import_hdf5
from store.format.keys import is_record, record_path
from store.upkeep.hdf5 import escape, unescape

HARD = (
    "/",
    "..",
    ".",
    "../../etc/passwd",
    "a/b",
    "a\\b",
    "line\nbreak",
    "nul\x00",
    "🎵🎶",
    "x" * 240,
    "é" * 240,
    "Song",
    "song",
    "SONG",
    "a_1",
    "a_2",
    "a.1",
    "CON",
    "nul",
    "zarr.json",
    "c",
    " ",
    "trailing ",
    "trailing.",
    "%2F",
    "caf\u00e9",
    "cafe\u0301",
    "\udcff",
    "0",
    ".tmp",
)
ids = st.one_of(st.sampled_from(HARD), st.text(st.characters(), min_size=1, max_size=240))


@given(ids, st.integers(0, 10_000))
def test_record_paths_have_the_expected_form(song: str, view: int) -> None:
    path = record_path(song, view)
    assert is_record(path)
    assert path.isascii()
    assert path == path.lower()
    assert len(path) < 80


@given(ids, ids)
def test_different_ids_have_different_paths_and_names(first: str, second: str) -> None:
    assert (record_path(first, 0) == record_path(second, 0)) == (first == second)
    assert (escape(first) == escape(second)) == (first == second)
    assert unescape(escape(first)) == first
    assert "/" not in escape(first)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    songs=st.lists(ids, min_size=1, max_size=4, unique=True),
    shape=st.tuples(st.integers(1, 5), st.integers(1, 40), st.integers(1, 9)),
    dtype=st.sampled_from(["float16", "float32", "int8"]),
    seed=st.integers(0, 99),
)
def test_any_id_and_shape_round_trip(
    songs: list[str], shape: tuple[int, int, int], dtype: str, seed: int, spec: Spec, tmp_path: Path
) -> None:
    spec = replace(spec, streams=tuple(map(str, range(shape[0]))), channels=shape[2], dtype=dtype)
    frames = np.random.default_rng(seed).standard_normal((len(songs), *shape)).astype(np.float32)
    folder = tmp_path / uuid.uuid4().hex
    writer = StoreWriter.open(folder / "a", spec)
    for song, values in zip(songs, frames, strict=True):
        assert writer.write(song, seed, values, attributes={})
    store = EmbeddingStore.open(folder / "a")
    assert store.songs == tuple(sorted(songs))
    export_hdf5(store.root, folder / "a.h5")
    import_hdf5(folder / "a.h5", str(folder / "b"))
    again = EmbeddingStore.open(folder / "b")
    for song, values in zip(songs, frames, strict=True):
        found = store.read(song, seed)
        tolerance = {"float16": 5e-3, "float32": 0, "int8": 0.02}[dtype]
        np.testing.assert_allclose(found, values, atol=tolerance)
        np.testing.assert_array_equal(again.read(song, seed), found)
        assert again.attributes(song, seed) == store.attributes(song, seed)


def test_similar_ids_stay_distinct(spec: Spec, tmp_path: Path, make_frames: Callable[..., Any]) -> None:
    writer = StoreWriter.open(tmp_path / "store", spec)
    for number, song in enumerate(HARD):
        assert writer.write(song, 0, make_frames(number), attributes={"number": number})
    store = EmbeddingStore.open(tmp_path / "store")
    assert [store.attributes(song)["number"] for song in HARD] == list(range(len(HARD)))
    assert unicodedata.normalize("NFC", "cafe\u0301") in store.songs


@pytest.mark.parametrize("record", [("", 0), ("a", -1), ("a", "0"), "a", ("a",), None])
def test_invalid_records_are_not_in_the_store(record: object, fill: Callable[..., str]) -> None:
    assert record not in EmbeddingStore.open(fill())
