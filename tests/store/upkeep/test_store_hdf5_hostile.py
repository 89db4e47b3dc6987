"""Untrusted or damaged HDF5 files: their records or a one-line error, never data from outside the file."""

import os
import random
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from store import EmbeddingStore, StoreError, export_hdf5, import_hdf5
from store.upkeep.hdf5_file import read_hdf5
from tests.hdf5_files import ACCEPTED, BAD_ATTRIBUTES, FRAMES, REFUSED, changed, plain, refusal

Make = Callable[..., Any]


@pytest.mark.parametrize("kind", REFUSED)
def test_special_objects_are_refused_by_name(kind: str, tmp_path: Path) -> None:
    build, message = REFUSED[kind]
    with h5py.File(plain(tmp_path / "theirs.h5"), "a") as file:
        build(file, plain(tmp_path / "other.h5"))
    with pytest.raises(StoreError, match=message) as caught:
        list(read_hdf5(str(tmp_path / "theirs.h5")))
    assert str(caught.value).startswith(f"{tmp_path}/theirs.h5: ")
    assert len(str(caught.value)) < 450
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("kind", ["external", "sparse"])
def test_a_refused_file_leaves_no_store(kind: str, tmp_path: Path) -> None:
    build, message = REFUSED[kind]
    with h5py.File(plain(tmp_path / "theirs.h5"), "a") as file:
        build(file, plain(tmp_path / "other.h5"))
    with pytest.raises(StoreError, match=message):
        import_hdf5(tmp_path / "theirs.h5", str(tmp_path / "store"))
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize("kind", BAD_ATTRIBUTES)
@pytest.mark.usefixtures("read_here")
def test_invalid_attributes_give_a_one_line_error(kind: str, tmp_path: Path) -> None:
    place, name, value, message = BAD_ATTRIBUTES[kind]
    with h5py.File(tmp_path / "theirs.h5", "w", libver="latest") as file:
        file.attrs["streams"] = ["x", "y"]
        file["a/0"] = FRAMES
        file[place].attrs[name] = value
    with pytest.raises(StoreError, match=message) as caught:
        import_hdf5(tmp_path / "theirs.h5", str(tmp_path / "store"))
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 450


@pytest.mark.parametrize("kind", ACCEPTED)
@pytest.mark.usefixtures("read_here")
def test_every_plain_layout_is_imported(kind: str, tmp_path: Path) -> None:
    data, options = ACCEPTED[kind]
    with h5py.File(tmp_path / "theirs.h5", "w", **options) as file:
        file.attrs["streams"] = np.array(["x", "y"], h5py.string_dtype())[:, None]
        file.create_dataset("a/0", data=FRAMES, **data)
        file["b\x1b/0"] = file["a/0"]
    (tmp_path / "link.h5").symlink_to("theirs.h5")
    assert import_hdf5(tmp_path / "link.h5", str(tmp_path / "store")) == 2
    store = EmbeddingStore.open(tmp_path / "store")
    assert store.songs == ("a", "b\x1b")
    assert store.streams == ("x", "y")
    for song in store.songs:
        np.testing.assert_array_equal(store.read(song), FRAMES)


@pytest.mark.parametrize("together", [False, True], ids=["one", "many links"])
def test_a_small_file_cannot_fill_the_disk(together: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("store.upkeep.hdf5_file._SMALL", 1 << 20)
    with h5py.File(plain(tmp_path / "theirs.h5"), "a") as file:
        frames = np.zeros((2, 1 << (16 if together else 19), 4), np.float32)
        file.create_dataset("b/0", data=frames, compression="gzip")
        for number in range(40 if together else 0):
            file[f"b/{number + 1}"] = file["b/0"]
    with pytest.raises(
        StoreError, match=r"/b/\d+: the datasets up to this one have \d+ bytes, too many for \d+ bytes on"
    ):
        list(read_hdf5(str(tmp_path / "theirs.h5")))


def test_holes_in_a_file_do_not_count_as_data(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "theirs.h5", "w") as file:
        file.attrs["streams"] = ["x", "y"]
        plan = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plan.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
        plan.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
        space = h5py.h5s.create_simple((2, 1 << 24, 4))
        h5py.h5d.create(file.create_group("a").id, b"0", h5py.h5t.IEEE_F32LE, space, plan)
    with pytest.raises(StoreError, match=r"/a/0: the datasets up to this one have 536870912 bytes, too many for"):
        list(read_hdf5(str(tmp_path / "theirs.h5")))


def test_a_million_groups_are_too_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("store.upkeep.hdf5_file._MOST_OBJECTS", 50)
    with h5py.File(plain(tmp_path / "theirs.h5"), "a") as file:
        for number in range(60):
            file.create_group(f"g{number}")
    with pytest.raises(StoreError, match="more than 50 groups and datasets; split the file"):
        list(read_hdf5(str(tmp_path / "theirs.h5")))


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("pipe", "expected a file, found a device or a pipe"),
        ("folder", "expected a file, found a folder"),
        ("/dev/zero", "expected a file, found a device or a pipe"),
        ("loop", "Too many levels of symbolic links"),
        ("nul\0", "embedded null byte"),
        ("s3://bucket/all.h5", "No such file or directory; download a remote file first"),
        ("https:/example.org/all.h5", "No such file or directory; download a remote file first"),
        ("empty", "damaged"),
    ],
)
def test_a_path_that_is_not_a_file(name: str, reason: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "empty").touch()
    path = name if ":" in name else str(tmp_path / name)
    with pytest.raises(StoreError, match=f"cannot be read as HDF5: .*{reason}"):
        list(read_hdf5(path))


@pytest.fixture
def own(fill: Make, tmp_path: Path) -> Path:
    """An export of two songs, one with an escaped id."""
    export_hdf5(fill(songs=("a", "x/y")), tmp_path / "own.h5")
    return tmp_path / "own.h5"


def test_a_file_that_makes_the_library_loop_for_ever_is_refused(
    own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = bytearray(own.read_bytes())
    # An object of size 0 in a heap of texts: HDF5 2.0 looks for the next object at the same place, for ever.
    start = data.index(b"GCOL") + 16
    data[start : start + 16] = bytes(16)
    own.write_bytes(data)
    monkeypatch.setattr("store.upkeep.hdf5_process.OBJECT_SECONDS", 0.3)
    with pytest.raises(StoreError, match=r"own.h5: .*library did not finish one object in 0.3 s"):
        import_hdf5(own, str(tmp_path / "again"))
    assert not (tmp_path / "again").exists()


def test_a_chunk_that_unpacks_to_gigabytes_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """HDF5 decompresses a whole chunk, even for a small dataset."""
    packer = zlib.compressobj()
    zeros = packer.compress(bytes(16 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)
    with h5py.File(tmp_path / "theirs.h5", "w") as file:
        file.attrs["streams"] = ["x", "y"]
        data = file.create_dataset("a/0", FRAMES.shape, "f4", chunks=FRAMES.shape, compression="gzip")
        data.id.write_direct_chunk((0, 0, 0), zeros + zeros[2:] * 1000)
    monkeypatch.setattr("store.upkeep.hdf5_process.MEMORY", 1 << 29)
    with pytest.raises(StoreError, match=r"/a/0: cannot be read: .*filter returned failure"):
        import_hdf5(tmp_path / "theirs.h5", str(tmp_path / "store"))
    assert not (tmp_path / "store" / "zarr.json").exists()


def test_a_crash_of_the_library_gives_a_one_line_error(
    own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("store.upkeep.hdf5_process._BEGIN", "import os; os.kill(os.getpid(), 11)")
    with pytest.raises(StoreError, match=r"own.h5: cannot be read as HDF5: the HDF5 library crashed \(SIGSEGV\)"):
        import_hdf5(own, str(tmp_path / "again"))


def test_an_interrupted_import_leaves_no_process(own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[Any] = []
    popen = __import__("subprocess").Popen

    def remember(*arguments: Any, **options: Any) -> Any:
        begun.append(popen(*arguments, **options))
        return begun[-1]

    def interrupted(items: Any) -> Iterator[Any]:
        yield items[0]
        raise KeyboardInterrupt("stop")

    monkeypatch.setattr("subprocess.Popen", remember)
    with pytest.raises(KeyboardInterrupt, match="stop"):
        import_hdf5(own, str(tmp_path / "again"), progress=interrupted)
    assert [process.returncode is None for process in begun] == [False]
    assert len(EmbeddingStore.open(tmp_path / "again")) == 1


@pytest.mark.parametrize("what", ["record", "name", "encoders", "order"])
def test_changes_of_an_export_are_noticed(what: str, own: Path, tmp_path: Path) -> None:
    """Also changes that the records' own digests do not cover."""
    with h5py.File(own, "a") as file:
        if what == "record":
            del file["a/1"]
        elif what == "name":
            file.move("a", "%61")
        elif what == "encoders":
            file.attrs["encoders_from"] = '{"muq": {"kind": "hub", "id": "somebody/else"}}'
        else:
            file.attrs["streams"] = list(file.attrs["streams"])[::-1]
    with pytest.raises(StoreError, match=r"own.h5: does not match its digest: names or file attributes have changed"):
        import_hdf5(own, str(tmp_path / "again"))
    assert not (tmp_path / "again").exists()


def test_another_spelling_of_an_id_is_refused(own: Path, tmp_path: Path) -> None:
    with h5py.File(own, "a") as file:
        del file.attrs["digest"]  # as older versions wrote it
        file["%61/0"] = file["a/0"]
    with pytest.raises(StoreError, match=r"/%61/0: not in the form that hear-store export writes \(expected the name"):
        import_hdf5(own, str(tmp_path / "again"))


@pytest.mark.parametrize("seed", range(4))
def test_a_damaged_export_gives_the_same_records_or_an_error(
    seed: int, own: Path, tmp_path: Path, contents: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("store.upkeep.hdf5_process.OBJECT_SECONDS", 1.0)
    before, rng = contents(str(tmp_path / "store.zarr")), random.Random(seed)
    good = own.read_bytes()
    # Most damage ends the import early, in this process; the last file of each seed uses the subprocess.
    monkeypatch.setattr("store.upkeep.hdf5.read_in_subprocess", lambda path: read_hdf5(str(path)))
    for turn in range(3):
        data = bytearray(good)
        # Not in the heaps of texts, where the library may loop for ever; the campaign in tests/stress covers those.
        place = rng.choice([i for i in range(len(data)) if not 150 < i < 4400])
        data[place] ^= 1 << rng.randrange(8)
        own.write_bytes(data)
        imported(own, tmp_path / f"again{turn}", before, contents)
    monkeypatch.undo()
    monkeypatch.setattr("store.upkeep.hdf5_process.OBJECT_SECONDS", 1.0)
    own.write_bytes(changed(rng, good))
    imported(own, tmp_path / "again", before, contents)


def imported(path: Path, root: Path, before: dict[Any, Any], contents: Make) -> None:
    """Import a damaged file: all records, or an error and some of them; never other records."""
    error = refusal(path, root)
    if not error:
        assert contents(str(root)) == before
    elif (root / "zarr.json").exists():
        assert contents(str(root)).items() <= before.items()
    assert error.isprintable()
