"""The contract of a store, tested on every backend (the fixture `root` has one parameter for each)."""

import base64
import itertools
import pickle
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from store import (
    EmbeddingStore,
    Spec,
    StoreError,
    StoreWriter,
    cache_summaries,
    check_receipt,
    describe,
    export_hdf5,
    import_hdf5,
    index,
    merge,
    prune,
    verify,
    write_receipt,
)
from store.backends.objects import Objects
from store.backends.opening import open_objects
from store.errors import StoreNotFoundError
from store.format.keys import METADATA, SHARD, record_path
from store.format.quantisation import to_floats
from store.records import Record, get_record
from store.sweep import sweep

SONG = "Größe/..\n🎵"
Make = Callable[..., Any]


@pytest.fixture(params=["float16", "float32", "int8"])
def stored_spec(request: pytest.FixtureRequest, spec: Spec) -> Spec:
    return replace(spec, dtype=request.param)


@pytest.fixture
def filled(root: str, spec: Spec, make_frames: Make) -> str:
    """Songs a, b and SONG with views 0 and 1."""
    writer = StoreWriter.open(root, spec)
    for number, song in enumerate(("b", "a", SONG)):
        for view in (0, 1):
            frames = make_frames(10 * number + view, frames=10 + number)
            assert writer.write(song, view, frames, attributes={"seconds": 1.5, "drawn": {"gain": view}})
    return writer.root


class TestStoreContract:
    def test_the_origin_of_the_encoders_is_kept_from_the_stores_creation(
        self, root: str, spec: Spec, make_frames: Make
    ) -> None:
        told = {"muq": {"kind": "hub", "id": "a/b", "revision": "c"}, "musicfm": {"kind": "folder"}}
        writer = StoreWriter.open(root, spec, encoders_from=told)
        StoreWriter.open(root, spec, encoders_from={"muq": {"kind": "folder"}}).write(
            "a", 0, make_frames(), attributes={}
        )
        pickle.loads(pickle.dumps(writer)).write("b", 0, make_frames(), attributes={})
        store = EmbeddingStore.open(root, expect=spec)
        assert store.encoders_from == pickle.loads(pickle.dumps(store)).encoders_from == told
        assert describe(store)["encoders_from"] == told
        assert not verify(root).problems

    def test_the_origin_of_the_encoders_may_be_unknown(self, filled: str) -> None:
        assert EmbeddingStore.open(filled).encoders_from == {}
        assert b"encoders_from" not in (open_objects(filled).get(METADATA) or b"")

    def test_written_values_are_read_back(self, root: str, stored_spec: Spec, make_frames: Make) -> None:
        frames = make_frames(1, frames=33)
        StoreWriter.open(root, stored_spec).write(SONG, 3, frames, attributes={"seconds": 1.32})
        found = EmbeddingStore.open(root, expect=stored_spec).read(SONG, 3)
        assert found.dtype == ("float16" if stored_spec.dtype == "float16" else "float32")
        if stored_spec.dtype == "int8":
            half_step = np.ptp(frames, axis=1, keepdims=True) / 508
            assert (np.abs(found - frames) <= half_step * 1.0001).all()
        else:
            np.testing.assert_array_equal(found, frames.astype(stored_spec.dtype))

    def test_the_list_of_records(self, filled: str) -> None:
        store = EmbeddingStore.open(filled)
        assert store.songs == (SONG, "a", "b")
        assert list(store) == [(song, view) for song in (SONG, "a", "b") for view in (0, 1)]
        assert (len(store), store.views("a")) == (6, (0, 1))
        assert ("a", 1) in store
        assert ("a", 2) not in store
        assert "a" not in store

    def test_records_are_read_into_reused_memory(self, root: str, stored_spec: Spec, make_frames: Make) -> None:
        writer, store = StoreWriter.open(root, stored_spec), EmbeddingStore.open(root)
        memory = np.empty(1 << 16, np.uint8)
        for number in range(3):
            writer.write(f"song {number}", 0, make_frames(number, frames=20 + number), attributes={})
            names = stored_spec.streams[number % 2 :]
            values, levels = store.read_stored(f"song {number}", 0, names, allocate=lambda size: memory)
            assert np.shares_memory(values, memory)
            assert values.dtype == stored_spec.dtype
            np.testing.assert_array_equal(to_floats(values, levels), store.read(f"song {number}", 0, names))

    def test_one_stream_is_read_without_the_others(self, filled: str) -> None:
        store = EmbeddingStore.open(filled)
        whole, reverse = store.read("a"), list(reversed(store.streams))
        np.testing.assert_array_equal(store.read("a", streams=reverse), whole[::-1])
        path = f"{record_path('a', 0)}/{SHARD}"
        objects = open_objects(filled)
        shard = bytearray(objects.get(path) or b"")
        shard[0] ^= 1
        objects.put(path, [bytes(shard)])
        np.testing.assert_array_equal(store.read("a", streams=store.streams[1:]), whole[1:])
        with pytest.raises(StoreError, match="does not match its checksum"):
            store.read("a")

    def test_a_record_as_a_zarr_array(self, root: str, stored_spec: Spec, make_frames: Make) -> None:
        StoreWriter.open(root, stored_spec).write(SONG, 1, make_frames(1), attributes={"seconds": 0.8})
        store = EmbeddingStore.open(root)
        array = store.array(SONG, 1)
        assert isinstance(array, zarr.Array)
        values = array[1:, 3:9]
        if stored_spec.dtype == "int8":
            scale, offset = (
                np.frombuffer(base64.b64decode(str(array.attrs[name])), "<f4").reshape(2, 1, 8)
                for name in ("scale", "offset")
            )
            values = offset[1:] + scale[1:] * values
        np.testing.assert_array_equal(values, store.read(SONG, 1)[1:, 3:9])
        assert (array.dtype.name, array.attrs["seconds"]) == (stored_spec.dtype, 0.8)
        with pytest.raises(ValueError, match="read-only"):
            array[0, 0, 0] = 1
        np.testing.assert_array_equal(pickle.loads(pickle.dumps(array))[1:], array[1:])

    def test_an_array_of_a_missing_or_damaged_record_is_an_error(self, filled: str, make_frames: Make) -> None:
        store, objects = EmbeddingStore.open(filled), open_objects(filled)
        with pytest.raises(StoreNotFoundError, match="no such record"):
            store.array("a", 7)
        objects.delete(f"{record_path('a', 0)}/{SHARD}")
        with pytest.raises(StoreError, match="the data is missing or belongs to another record"):
            store.array("a")
        objects.put(f"{record_path('b', 0)}/{METADATA}", [b"{}"])
        with pytest.raises(StoreError, match="not an array of format 1"):
            store.array("b")

    def test_attributes_and_frames(self, filled: str) -> None:
        store = EmbeddingStore.open(filled)
        attributes = store.attributes(SONG, 1)
        assert attributes["song_id"] == SONG
        assert (attributes["view"], attributes["seconds"], attributes["drawn"]) == (1, 1.5, {"gain": 1})
        assert attributes["frames"] == store.frames(SONG, 1) == 12

    def test_an_existing_record_is_kept(self, filled: str, spec: Spec, make_frames: Make) -> None:
        before = EmbeddingStore.open(filled).read("a")
        writer = StoreWriter.open(filled, spec)
        assert not writer.write("a", 0, make_frames(99), attributes={})
        np.testing.assert_array_equal(EmbeddingStore.open(filled).read("a"), before)

    def test_data_without_metadata_is_not_a_record_and_is_swept(
        self, filled: str, spec: Spec, make_frames: Make
    ) -> None:
        objects = open_objects(filled)
        orphan = record_path("killed", 0)
        objects.put(f"{orphan}/{SHARD}", [b"half a record"])
        assert "killed" not in EmbeddingStore.open(filled).songs
        assert [problem.kind for problem in verify(filled).problems] == ["unfinished"]
        StoreWriter.open(filled, spec).write("other", 0, make_frames(), attributes={})
        assert not objects.exists(f"{orphan}/{SHARD}")
        assert verify(filled).problems == []

    def test_reading_while_others_write(self, root: str, spec: Spec, make_frames: Make) -> None:
        """Writers of the same records, each with its own attributes, and readers: complete records or no records."""
        StoreWriter.open(root, spec)
        songs = {f"s{number}": make_frames(number, frames=5 + number) for number in range(6)}

        def write(me: int) -> int:
            writer = StoreWriter.open(root, spec)
            names = list(songs)[me:] + list(songs)[:me]
            return sum(writer.write(name, 0, songs[name], attributes={"notes": "x" * me}) for name in names)

        ended = threading.Event()

        def read(_: int) -> int:
            seen: set[str] = set()
            while len(seen) < len(songs) and not ended.is_set():
                store = EmbeddingStore.open(root)
                for name in store.songs:
                    np.testing.assert_array_equal(store.read(name), songs[name].astype(np.float16))
                    seen.add(name)
            return len(seen)

        with ThreadPoolExecutor(6) as threads:
            written = [threads.submit(write, me) for me in range(3)]
            seen = [threads.submit(read, me) for me in range(3)]
            try:
                assert sum(future.result(300) for future in written) >= len(songs)
                assert [future.result(300) for future in seen] == [len(songs)] * 3
            finally:
                ended.set()
        assert verify(root).problems == []

    @pytest.mark.parametrize("moment", [SHARD, METADATA])
    def test_a_sweep_breaks_no_record_that_is_being_written(
        self, moment: str, filled: str, spec: Spec, make_frames: Make, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        writer, other, swept = StoreWriter.open(filled, spec), open_objects(filled), []
        writer.write("first", 0, make_frames(), attributes={})
        create = type(other).create

        def create_with_sweep(self: Objects, key: str, parts: Any, *, size: int = 0) -> None:
            create(self, key, parts, size=size)
            if key == f"{record_path('new', 0)}/{moment}" and not swept:
                swept.append(key)
                sweep(other)

        monkeypatch.setattr(type(other), "create", create_with_sweep)
        assert writer.write("new", 0, make_frames(1), attributes={})
        assert swept
        assert verify(filled).problems == []

    @pytest.mark.parametrize("late", [METADATA, "another record"])
    def test_a_record_written_during_a_sweep_of_its_litter_is_complete(
        self, late: str, filled: str, spec: Spec, make_frames: Make, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """After the first check for zarr.json, it appears, or another writer writes another record there."""
        writer, objects = StoreWriter.open(filled, spec), open_objects(filled)
        writer.write("new", 0, make_frames(1), attributes={"writer": "first"})
        metadata = f"{record_path('new', 0)}/{METADATA}"
        text = objects.get(metadata)
        assert text is not None
        objects.delete(metadata)
        looked, exists = [], type(objects).exists

        def exists_late(self: Objects, key: str) -> bool:
            found = exists(self, key)
            if key == metadata and not looked:
                looked.append(key)
                if late == METADATA:
                    objects.put(metadata, [text])
                else:
                    objects.delete(f"{record_path('new', 0)}/{SHARD}")
                    writer.write("new", 0, make_frames(2), attributes={"writer": "second"})
            return found

        monkeypatch.setattr(type(objects), "exists", exists_late)
        sweep(open_objects(filled))
        assert looked
        store = EmbeddingStore.open(filled)
        assert store.attributes("new", 0)["writer"] == ("first" if late == METADATA else "second")
        np.testing.assert_array_equal(store.read("new"), make_frames(1 if late == METADATA else 2).astype(np.float16))

    def test_of_two_writers_of_a_record_the_first_to_place_its_data_wins(
        self, filled: str, spec: Spec, make_frames: Make, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        ours, theirs = StoreWriter.open(filled, spec), StoreWriter.open(filled, spec)
        for writer in (ours, theirs):
            writer.write("first", 0, make_frames(), attributes={})
        create, begun = type(open_objects(filled)).create, []

        def create_late(self: Objects, key: str, parts: Any, *, size: int = 0) -> None:
            if key.endswith(SHARD) and not begun:
                begun.append(key)
                assert theirs.write("new", 0, make_frames(2), attributes={"writer": "theirs"})
            create(self, key, parts, size=size)

        monkeypatch.setattr(type(open_objects(filled)), "create", create_late)
        assert not ours.write("new", 0, make_frames(1), attributes={"writer": "ours"})
        assert EmbeddingStore.open(filled).attributes("new", 0)["writer"] == "theirs"
        assert verify(filled).problems == []

    @pytest.mark.parametrize("left", ["data", "zarr.json"])
    def test_the_remains_of_a_killed_writer_are_waited_for_and_then_replaced(
        self, left: str, filled: str, spec: Spec, make_frames: Make, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        writer, objects, path = StoreWriter.open(filled, spec), open_objects(filled), record_path("new", 0)
        writer.write("new", 0, make_frames(2), attributes={"writer": "killed"})
        text = objects.get(f"{path}/{METADATA}")
        assert text is not None
        objects.delete(f"{path}/{METADATA}")
        if left == "zarr.json":
            objects.delete(f"{path}/{SHARD}")
        create, pauses = type(objects).create, list[float]()

        def create_late(self: Objects, key: str, parts: Any, *, size: int = 0) -> None:
            if left == "zarr.json" and key == f"{path}/{METADATA}":
                objects.put(key, [text])
            create(self, key, parts, size=size)

        monkeypatch.setattr(type(objects), "create", create_late)
        monkeypatch.setattr("store.format.arrays.time.sleep", pauses.append)
        assert writer.write("new", 0, make_frames(1), attributes={"writer": "ours"})
        assert 0.5 < sum(pauses) < 3.0
        assert EmbeddingStore.open(filled).attributes("new", 0)["writer"] == "ours"
        assert verify(filled).problems == []

    def test_pickling_keeps_only_the_place(self, filled: str, spec: Spec) -> None:
        store = EmbeddingStore.open(filled)
        again = pickle.loads(pickle.dumps(store))
        assert (again.songs, again.spec) == (store.songs, spec)
        assert len(pickle.dumps(store)) < 1000
        assert pickle.loads(pickle.dumps(StoreWriter.open(filled, spec))).has("a", 1)

    def test_missing_records_songs_streams_and_stores(self, root: str, filled: str, spec: Spec) -> None:
        store = EmbeddingStore.open(filled)
        with pytest.raises(StoreNotFoundError, match="no such record: song 'a', view 7"):
            store.read("a", 7)
        with pytest.raises(StoreNotFoundError, match="no song 'z'"):
            store.views("z")
        with pytest.raises(StoreError, match="no stream 'muq/track@6'; give a list of musicfm/segment, muq/track"):
            store.read("a", streams=["muq/track@6"])
        with pytest.raises(StoreError, match="song id"):
            store.read("")
        with pytest.raises(StoreNotFoundError, match="no embedding store here"):
            EmbeddingStore.open(f"{root}-absent")
        with pytest.raises(FileNotFoundError, match="no embedding store here"):
            StoreWriter.open(f"{root}-absent", spec, create=False)

    def test_invalid_records_are_refused(self, root: str, spec: Spec, make_frames: Make) -> None:
        writer, good = StoreWriter.open(root, spec), make_frames()
        for value, dtype in itertools.product((np.nan, np.inf, -np.inf), ("float16", "float32")):
            bad = good.astype(dtype)
            bad[1, 3, 2] = value
            with pytest.raises(StoreError, match="song 'a' view 0: frames hold NaN or infinite"):
                writer.write("a", 0, bad, attributes={})
        with pytest.raises(StoreError, match=r"reach 7e\+04, more than float16 holds"):
            writer.write("a", 0, good + np.float32(7e4) * (good == good.max()), attributes={})
        for shape in ((1, 20, 8), (2, 20, 7), (2, 0, 8), (20, 8)):
            with pytest.raises(StoreError, match="expected frames of"):
                writer.write("a", 0, np.zeros(shape, np.float32), attributes={})
        with pytest.raises(StoreError, match="expected float16 or float32 frames, found float64"):
            writer.write("a", 0, good.astype(np.float64), attributes={})
        with pytest.raises(StoreError, match="'crc32c' is reserved"):
            writer.write("a", 0, good, attributes={"crc32c": 1})
        with pytest.raises(StoreError, match="JSON"):
            writer.write("a", 0, good, attributes={"seconds": float("nan")})
        with pytest.raises(StoreError, match="JSON"):
            writer.write("a", 0, good, attributes={"seconds": object()})
        assert len(EmbeddingStore.open(root)) == 0

    def test_summary_is_mean_and_deviation(self, filled: str) -> None:
        store = EmbeddingStore.open(filled)
        summary = store.summary()
        assert list(zip(summary.songs, summary.views.tolist(), strict=True)) == list(store)
        for values, key in zip(summary.values, store, strict=True):
            frames = store.read(*key).astype(np.float64)
            expected = np.concatenate([frames.mean(axis=1), frames.std(axis=1)], axis=1)
            np.testing.assert_allclose(values, expected, atol=1e-6)
        assert cache_summaries(filled) == 6
        again = EmbeddingStore.open(filled).summary([store.streams[1]])
        np.testing.assert_array_equal(again.values, summary.values[:, 1:])

    def test_cached_summaries_are_used_unless_they_are_stale(
        self, filled: str, spec: Spec, make_frames: Make, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        cache_summaries(filled)
        prune(filled, songs=["a"], views=[0])
        frames = make_frames(77)
        StoreWriter.open(filled, spec).write("a", 0, frames, attributes={})
        read: list[tuple[str, int]] = []

        def spy(objects: Objects, spec: Spec, song: str, view: int, numbers: Any) -> Record:
            read.append((song, view))
            return get_record(objects, spec, song, view, numbers)

        monkeypatch.setattr("store.summary.get_record", spy)
        summary = EmbeddingStore.open(filled).summary()
        assert read == [("a", 0)]
        np.testing.assert_allclose(summary.values[2, 0, :8], frames[0].mean(axis=0), atol=1e-3)

    def test_lazy_arrays_read_when_computed(self, filled: str) -> None:
        store = EmbeddingStore.open(filled)
        lazy = store.lazy([store.streams[1]])
        assert list(lazy) == list(store)
        array = lazy["a", 1]
        assert (array.shape, array.dtype) == ((1, 11, 8), np.float16)
        np.testing.assert_array_equal(array.compute(scheduler="synchronous"), store.read("a", 1)[1:])
        mean = lazy["a", 1].mean(axis=1).compute(scheduler="synchronous")
        np.testing.assert_allclose(mean, store.read("a", 1)[1:].mean(axis=1), atol=1e-3)

    def test_the_index_only_changes_the_speed(self, filled: str, spec: Spec, make_frames: Make) -> None:
        before = EmbeddingStore.open(filled).rows
        assert index(filled) == 6
        assert EmbeddingStore.open(filled).rows == before
        StoreWriter.open(filled, spec).write("new", 0, make_frames(), attributes={})
        prune(filled, songs=["b"])
        open_objects(filled).put("catalogue/index.json", [b'{"columns": 1}'])
        assert EmbeddingStore.open(filled).songs == (SONG, "a", "new")

    def test_receipt(self, filled: str, spec: Spec, make_frames: Make, tmp_path: Path) -> None:
        receipt = tmp_path / "out" / "receipt.json"
        write_receipt(EmbeddingStore.open(filled), receipt)
        check_receipt(receipt, EmbeddingStore.open(filled))
        StoreWriter.open(filled, spec).write("new", 0, make_frames(), attributes={})
        with pytest.raises(StoreError, match="songs: expected 3, found 4; the store has changed since"):
            check_receipt(receipt, EmbeddingStore.open(filled))
        prune(filled, songs=["new"])
        check_receipt(receipt, EmbeddingStore.open(filled))
        prune(filled, songs=["a"], views=[0])
        StoreWriter.open(filled, spec).write("a", 0, make_frames(5), attributes={})
        with pytest.raises(StoreError, match="digest: expected 'sha256:"):
            check_receipt(receipt, EmbeddingStore.open(filled))

    def test_verify_finds_and_repair_removes(self, filled: str, spec: Spec) -> None:
        objects = open_objects(filled)
        objects.delete(f"{record_path('a', 0)}/{SHARD}")
        objects.put(f"{record_path('b', 0)}/{METADATA}", [b"{}"])
        objects.put("records/notes.txt", [b"mine"])
        objects.put("README", [b"mine"])
        found = {problem.path: problem.kind for problem in verify(filled).problems}
        assert found == {
            record_path("a", 0): "damaged",
            record_path("b", 0): "damaged",
            "records/notes.txt": "foreign",
            "README": "foreign",
        }
        report = verify(filled, repair=True)
        assert (report.records, [problem.path for problem in report.problems if not problem.removed]) == (4, ["README"])
        objects.delete("README")
        assert verify(filled).problems == []
        writer = StoreWriter.open(filled, spec)
        assert [writer.has(song, 0) for song in ("a", "b", SONG)] == [False, False, True]

    def test_round_trip_through_hdf5(self, filled: str, root: str, contents: Make, tmp_path: Path) -> None:
        assert export_hdf5(filled, tmp_path / "all.h5") == 6
        assert import_hdf5(tmp_path / "all.h5", f"{root}-again") == 6
        assert contents(f"{root}-again") == contents(filled)

    def test_merge_and_prune(self, filled: str, root: str, spec: Spec, make_frames: Make, contents: Make) -> None:
        other = StoreWriter.open(f"{root}-other", spec)
        other.write("c", 0, make_frames(3), attributes={"seconds": 2.0})
        report = merge([filled, other.root], f"{root}-both")
        assert (report.copied, report.kept) == (7, 0)
        assert contents(f"{root}-both") == contents(filled) | contents(other.root)
        assert prune(f"{root}-both", views=[1]) == [(SONG, 1), ("a", 1), ("b", 1)]
        assert verify(f"{root}-both").problems == []
        assert merge([filled], f"{root}-both").copied == 3

    def test_info_counts(self, filled: str) -> None:
        figures = describe(EmbeddingStore.open(filled), splits={"a": "train", "z": "train", "b": "val"})
        assert (figures["songs"], figures["records"], figures["hours"]) == (3, 6, 0.0025)
        shards = [entry.size for entry in open_objects(filled).find("records") if entry.key.endswith(SHARD)]
        assert figures["bytes"] == sum(shards)
        assert figures["views"]["1"]["records"] == 3
        assert {name: (part["songs"], part["missing"]) for name, part in figures["splits"].items()} == {
            "(none)": (1, 0),
            "train": (1, 1),
            "val": (1, 0),
        }
