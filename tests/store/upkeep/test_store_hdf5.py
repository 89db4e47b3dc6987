"""Export to HDF5 and import from it."""

import json
import shutil
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from store import EmbeddingStore, Spec, StoreError, StoreWriter, export_hdf5, import_hdf5
from store.errors import StoreNotFoundError
from store.upkeep.hdf5 import escape

Make = Callable[..., Any]


@pytest.mark.parametrize("dtype", ["float16", "float32", "int8"])
def test_lossless(dtype: str, fill: Make, contents: Make, tmp_path: Path) -> None:
    root = fill(songs=("a", "..", "x/y", "é\n🎵"), dtype=dtype)
    export_hdf5(root, tmp_path / "all.h5")
    import_hdf5(tmp_path / "all.h5", str(tmp_path / "again"))
    assert contents(str(tmp_path / "again")) == contents(root)
    assert EmbeddingStore.open(tmp_path / "again").receipt() == EmbeddingStore.open(root).receipt()


def test_the_file_explains_itself(fill: Make, spec: Spec, tmp_path: Path) -> None:
    root = fill(songs=("x/y",), views=1)
    export_hdf5(root, tmp_path / "all.h5")
    with h5py.File(tmp_path / "all.h5") as file:
        assert tuple(file.attrs["streams"]) == spec.streams
        assert Spec.from_json(json.loads(file.attrs["spec"])) == spec
        data = file["x%2Fy/0"]
        np.testing.assert_array_equal(data[()], EmbeddingStore.open(root).read("x/y"))
        assert json.loads(data.attrs["attributes"])["seconds"] == 0.8


def test_scales_beyond_64_kib(tmp_path: Path, spec: Spec) -> None:
    wide = replace(spec, channels=10_000, dtype="int8")
    writer = StoreWriter.open(tmp_path / "store", wide)
    writer.write("a", 0, np.random.default_rng(0).standard_normal((2, 2, 10_000), np.float32), attributes={})
    export_hdf5(writer.root, tmp_path / "all.h5")
    import_hdf5(tmp_path / "all.h5", str(tmp_path / "again"))
    again = EmbeddingStore.open(tmp_path / "again")
    np.testing.assert_array_equal(again.read("a"), EmbeddingStore.open(writer.root).read("a"))


def test_a_file_of_another_program(tmp_path: Path) -> None:
    frames = np.random.default_rng(0).standard_normal((2, 7, 4)).astype(np.float16)
    with h5py.File(tmp_path / "theirs.h5", "w") as file:
        file.attrs["streams"] = ["x", "y"]
        file.create_dataset("100%25 song/0", data=frames)
        file.create_dataset("100%25 song/2", data=frames[:, :3])
    assert import_hdf5(tmp_path / "theirs.h5", str(tmp_path / "store")) == 2
    assert import_hdf5(tmp_path / "theirs.h5", str(tmp_path / "store")) == 0
    store = EmbeddingStore.open(tmp_path / "store")
    assert (store.songs, store.views("100%25 song"), store.streams) == (("100%25 song",), (0, 2), ("x", "y"))
    assert (store.spec.origin, store.spec.precision) == ("import", "unknown")
    np.testing.assert_array_equal(store.read("100%25 song"), frames)


def write(file: h5py.File, name: str, data: object, streams: object = ("x",)) -> None:
    file.create_dataset(name, data=data)
    if streams:
        file.attrs["streams"] = streams


@pytest.mark.parametrize(
    ("name", "data", "streams", "message"),
    [
        ("0", np.zeros((1, 2, 3), np.float32), ("x",), "/0: expected a dataset /<song id>/<view>"),
        ("a/b/x", np.zeros((1, 2, 3), np.float32), ("x",), "/a/b/x: expected a dataset"),
        ("a/" * 40 + "0", np.zeros((1, 2, 3), np.float32), ("x",), "/a/a/.*: expected a dataset"),
        ("a/b", np.zeros((1, 2, 3), np.float32), ("x",), "/a/b: expected a dataset"),
        ("a/0", np.zeros((2, 3), np.float32), ("x",), "/a/0: expected a dataset"),
        ("a/0", np.zeros((1, 2, 3), np.float32), None, "expected a file attribute `streams`"),
        ("a/0", np.zeros((1, 2, 3), np.float64), ("x",), "/a/0: expected float16 or float32, found float64"),
        ("a/0", np.zeros((2, 2, 3), np.float32), ("x",), "song 'a' view 0: expected frames of"),
        ("a/0", np.full((1, 2, 3), np.nan, np.float32), ("x",), "NaN"),
    ],
)
@pytest.mark.usefixtures("read_here")
def test_files_with_another_layout(name: str, data: object, streams: object, message: str, tmp_path: Path) -> None:
    with h5py.File(tmp_path / "theirs.h5", "w") as file:
        write(file, name, data, streams)
    with pytest.raises(StoreError, match=message):
        import_hdf5(tmp_path / "theirs.h5", str(tmp_path / "store"))


@pytest.mark.parametrize("own", [True, False])
@pytest.mark.parametrize("kind", ["f2", "f4"])
@pytest.mark.usefixtures("read_here")
def test_datasets_of_either_byte_order(own: bool, kind: str, fill: Make, tmp_path: Path) -> None:
    if own:
        root = fill(songs=("a",), views=1, dtype={"f2": "float16", "f4": "float32"}[kind])
        export_hdf5(root, tmp_path / "all.h5")
        frames = EmbeddingStore.open(root).read("a")
    else:
        frames = np.random.default_rng(0).standard_normal((1, 7, 4)).astype(kind)
    with h5py.File(tmp_path / "all.h5", "a") as file:
        kept = dict(file["a/0"].attrs) if own else {}
        if own:
            del file["a/0"]
        else:
            file.attrs["streams"] = ["x"]
        # As written on a big-endian machine.
        file.create_dataset("a/0", data=frames.astype(f">{kind}")).attrs.update(kept)
    import_hdf5(tmp_path / "all.h5", str(tmp_path / "again"))
    found = EmbeddingStore.open(tmp_path / "again").read("a")
    assert found.dtype == frames.dtype
    np.testing.assert_array_equal(found, frames)


def test_nested_groups_are_ids_with_slashes(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "theirs.h5", "w") as file:
        file.attrs.update({"streams": ["x"], "frame_rate": [[12.5]]})  # a matrix, as MATLAB writes numbers
        for name in ("modelA/001/0", "modelA/001/1", "modelB/001/0", "7/0"):
            file.create_dataset(name, data=np.ones((1, 3, 2), np.float32))
    import_hdf5(tmp_path / "theirs.h5", str(tmp_path / "store"))
    store = EmbeddingStore.open(tmp_path / "store")
    assert store.songs == ("7", "modelA/001", "modelB/001")
    assert store.views("modelA/001") == (0, 1)
    assert (store.frame_rate, store.spec.layers) == (12.5, ())


@pytest.mark.parametrize("rate", [0, -1.0, np.nan, np.inf, "fast", [1, 2]])
@pytest.mark.usefixtures("read_here")
def test_an_invalid_frame_rate(rate: object, tmp_path: Path) -> None:
    with h5py.File(tmp_path / "theirs.h5", "w") as file:
        write(file, "a/0", np.zeros((1, 2, 3), np.float32))
        file.attrs["frame_rate"] = rate
    with pytest.raises(
        StoreError, match=r"theirs\.h5: attribute `frame_rate`: expected frames per second, a number above"
    ):
        import_hdf5(tmp_path / "theirs.h5", str(tmp_path / "store"))


def test_not_hdf5_and_an_existing_file(tmp_path: Path, fill: Make) -> None:
    (tmp_path / "text.h5").write_text("hello")
    with pytest.raises(StoreError, match=r"text.h5: cannot be read as HDF5"):
        import_hdf5(tmp_path / "text.h5", str(tmp_path / "store"))
    with pytest.raises(StoreError, match=r"absent.h5: cannot be read as HDF5: No such file or directory$"):
        import_hdf5(tmp_path / "absent.h5", str(tmp_path / "store"))
    with pytest.raises(StoreError, match=r"text.h5: exists; remove it or name another file"):
        export_hdf5(fill(), tmp_path / "text.h5")
    with pytest.raises(StoreError, match=r"absent/all.h5: cannot be written: No such file or directory$"):
        export_hdf5(fill(), tmp_path / "absent" / "all.h5")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("text.h5/all.h5", "Not a directory"),
        # Until it is complete, the file has another name, longer by 8.
        (f"{'x' * 245}.h5", "File name too long"),
        (f"{'x' * 300}.h5", "File name too long"),
    ],
)
def test_a_name_that_the_file_system_refuses(name: str, reason: str, fill: Make, tmp_path: Path) -> None:
    (tmp_path / "text.h5").write_text("hello")
    with pytest.raises(StoreError, match=rf"\.h5: cannot be written: {reason}$"):
        export_hdf5(fill(), tmp_path / name)


def test_a_refused_export_leaves_a_running_one_alone(fill: Make, tmp_path: Path) -> None:
    (tmp_path / "all.h5").write_text("hello")
    (tmp_path / "all.h5.partial").write_text("half")
    with pytest.raises(StoreError, match=r"all\.h5: exists"):
        export_hdf5(fill(), tmp_path / "all.h5")
    assert (tmp_path / "all.h5.partial").read_text() == "half"


def test_damage_in_the_file_is_noticed(fill: Make, tmp_path: Path) -> None:
    export_hdf5(fill(songs=("a",), views=1), tmp_path / "all.h5")
    with h5py.File(tmp_path / "all.h5", "a") as file:
        file["a/0"][0, 0, 0] += 1
    with pytest.raises(StoreError, match="song 'a' view 0: does not match its digest; its source is damaged"):
        import_hdf5(tmp_path / "all.h5", str(tmp_path / "again"))
    with pytest.raises(StoreNotFoundError, match="no embedding store here"):
        EmbeddingStore.open(tmp_path / "again")


def test_a_full_disk_at_any_point_of_an_export(fill: Make, small_disk: Path, tmp_path: Path) -> None:
    root = fill(songs=tuple(map(str, range(40))), channels=64)
    export_hdf5(root, tmp_path / "all.h5")
    free = shutil.disk_usage(small_disk).free
    size = (tmp_path / "all.h5").stat().st_size
    # HDF5 writes its tables when it closes the file, and then fails in other ways.
    for missing in range(4096, size, 40_960):
        (small_disk / "ballast").write_bytes(bytes(free - size + missing))
        with pytest.raises(StoreError, match=r"all.h5: cannot be written: No space left on device$"):
            export_hdf5(root, small_disk / "all.h5")
        assert [path.name for path in small_disk.iterdir()] == ["ballast"]


@pytest.mark.parametrize(
    ("place", "name", "value", "message"),
    [
        (
            "a/0",
            "digest",
            None,
            r"all.h5: /a/0: not in the form that hear-store .*digest.*; export it again",
        ),
        ("a/0", "scale", None, "all.h5: /a/0: not in the form that hear-store export writes .*scale"),
        ("a/0", "scale", "wide", r"/a/0: attribute `scale`: expected numbers of shape \(2, 8\), found another type"),
        ("a/0", "digest", [1, 2], "all.h5: /a/0: attribute `digest`: expected a text, found another type"),
        ("a/0", "attributes", "{", "all.h5: /a/0: attribute `attributes`: it is not JSON: Expecting property name"),
        ("a/0", "attributes", "[1]", "all.h5: /a/0: attribute `attributes`: expected a JSON object, found list;"),
        ("/", "spec", "{", "all.h5: attribute `spec`: not in the form that hear-store export writes"),
        ("/", "spec", "[]", "all.h5: attribute `spec`: not in the form that hear-store export writes|a store's spec"),
        ("/", "encoders_from", "[]", r"all\.h5: attribute `encoders_from`: not in .* found list\); export it again"),
        (
            "/",
            "encoders_from",
            "{",
            r"all\.h5: attribute `encoders_from`: not in the form that hear-store",
        ),
    ],
)
@pytest.mark.usefixtures("read_here")
def test_an_export_that_was_changed(
    place: str, name: str, value: object, message: str, fill: Make, tmp_path: Path
) -> None:
    export_hdf5(fill(songs=("a",), views=1, dtype="int8"), tmp_path / "all.h5")
    with h5py.File(tmp_path / "all.h5", "a") as file:
        del file[place].attrs[name]
        if value is not None:
            file[place].attrs[name] = value
    with pytest.raises(StoreError, match=message):
        import_hdf5(tmp_path / "all.h5", str(tmp_path / "again"))


@pytest.mark.parametrize(
    ("attributes", "found"), [("[1]", "list"), ("null", "NoneType"), ('"ab"', "str"), ("3", "int")]
)
@pytest.mark.usefixtures("read_here")
def test_attributes_of_another_program_that_are_not_an_object(attributes: str, found: str, tmp_path: Path) -> None:
    with h5py.File(tmp_path / "theirs.h5", "w") as file:
        write(file, "a/0", np.zeros((1, 2, 3), np.float32))
        file["a/0"].attrs["attributes"] = attributes
    with pytest.raises(
        StoreError, match=f"theirs.h5: /a/0: attribute `attributes`: expected a JSON object, found {found};"
    ):
        import_hdf5(tmp_path / "theirs.h5", str(tmp_path / "store"))
    assert not (tmp_path / "store" / "zarr.json").exists()


def test_one_stream_may_be_named_without_a_list(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "theirs.h5", "w") as file:
        write(file, "a/0", np.zeros((1, 2, 3), np.float32), streams="muq")
    import_hdf5(tmp_path / "theirs.h5", str(tmp_path / "store"))
    assert EmbeddingStore.open(tmp_path / "store").streams == ("muq",)


def test_an_interrupted_export_leaves_no_file(fill: Make, tmp_path: Path) -> None:
    def interrupted(items: Any) -> Any:
        yield items[0]
        raise KeyboardInterrupt("stop")

    with pytest.raises(KeyboardInterrupt, match="stop"):
        export_hdf5(fill(), tmp_path / "all.h5", progress=interrupted)
    assert [path.name for path in tmp_path.iterdir()] == ["store.zarr"]


def test_memory_holds_one_record_at_a_time(tmp_path: Path, spec: Spec, make_frames: Make) -> None:
    wide = replace(spec, channels=256)
    writer = StoreWriter.open(tmp_path / "store", wide)
    frames = make_frames(spec=wide, frames=1000)
    for song in range(12):
        writer.write(str(song), 0, frames, attributes={})
    record = frames.nbytes // 2

    def peak(work: Callable[[], object]) -> int:
        tracemalloc.start()
        try:
            work()
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    assert peak(lambda: export_hdf5(writer.root, tmp_path / "all.h5")) < 2.5 * record
    assert peak(lambda: import_hdf5(tmp_path / "all.h5", str(tmp_path / "again"))) < 2.5 * record
    store = EmbeddingStore.open(writer.root)
    assert peak(lambda: store.read("0")) < 1.2 * record
    assert peak(lambda: [store.read(song) for song in store.songs]) < 14 * record


def test_escaped_names_are_readable() -> None:
    assert [escape(song) for song in ("söng 1", "a/b", "50%", "..", "...", "a..b", "\n")] == [
        "söng 1",
        "a%2Fb",
        "50%25",
        "%2E%2E",
        "%2E%2E%2E",
        "a..b",
        "%0A",
    ]


def test_a_file_without_valid_records_leaves_no_store(tmp_path: Path) -> None:
    """Otherwise a corrected file with other channels would be refused because of the first file's spec."""
    for name, channels, value in (("bad.h5", 4, np.nan), ("good.h5", 8, 1.0)):
        with h5py.File(tmp_path / name, "w") as file:
            file.attrs["streams"] = ["mine"]
            file["song/0"] = np.full((1, 3, channels), value, np.float32)
    target = str(tmp_path / "store.zarr")
    with pytest.raises(StoreError, match="NaN or infinite"):
        import_hdf5(tmp_path / "bad.h5", target)
    assert import_hdf5(tmp_path / "good.h5", target) == 1
    with pytest.raises(StoreError, match="another spec"):
        import_hdf5(tmp_path / "bad.h5", target)
    assert len(EmbeddingStore.open(target)) == 1
