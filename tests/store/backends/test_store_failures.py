"""Targets that are full, read-only or not a folder: one clear error, and no record is lost."""

import errno
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
import pytest

from store import EmbeddingStore, Spec, StoreError, StoreWriter, index, prune, verify, write_receipt
from store.backends.local import LocalObjects

Make = Callable[..., Any]


def test_a_full_disk(small_disk: Path, spec: Spec, make_frames: Make) -> None:
    writer = StoreWriter.open(small_disk / "store", spec)
    frames = make_frames(frames=2000)
    for song in range(12):
        writer.write(f"s{song}", 0, frames, attributes={})
    with pytest.raises(StoreError, match="cannot write: No space left on device; no incomplete object is visible"):
        writer.write("large", 0, make_frames(frames=9000), attributes={})
    assert len(EmbeddingStore.open(small_disk / "store")) == 12
    assert verify(str(small_disk / "store")).problems == []
    assert not list((small_disk / "store" / ".tmp").iterdir())


@pytest.mark.parametrize(
    ("code", "words"), [(errno.ENOSPC, "No space left"), (errno.EROFS, "Read-only file system"), (errno.EIO, "Input")]
)
@pytest.mark.parametrize("puts", [0, 1])
def test_a_write_that_fails(
    code: int, words: str, puts: int, tmp_path: Path, spec: Spec, make_frames: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = StoreWriter.open(tmp_path / "store", spec)
    writer.write("first", 0, make_frames(), attributes={})
    left = [puts]

    def failing(file: Any, data: memoryview) -> None:
        if not left[0]:
            file.write(data[: len(data) // 2])
            raise OSError(code, os.strerror(code))
        left[0] -= data.nbytes == 36  # the index, a shard's last part
        file.write(data)

    with monkeypatch.context() as patch:
        patch.setattr("store.backends.local._write_all", failing)
        with pytest.raises(StoreError, match=f"cannot write: {words}.*fix the cause and run again"):
            writer.write("second", 0, make_frames(1), attributes={})
    assert EmbeddingStore.open(tmp_path / "store").songs == ("first",)
    assert StoreWriter.open(tmp_path / "store", spec).write("third", 0, make_frames(), attributes={})
    assert verify(str(tmp_path / "store")).problems == []


def test_a_read_only_target(small_disk: Path, spec: Spec, make_frames: Make) -> None:
    StoreWriter.open(small_disk / "store", spec).write("a", 0, make_frames(), attributes={})
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    store = EmbeddingStore.open(small_disk / "store")
    assert store.read("a").shape == (2, 20, 8)
    assert not StoreWriter.open(small_disk / "store", spec).write("a", 0, make_frames(), attributes={})
    with pytest.raises(StoreError, match="cannot write: Read-only file system"):
        StoreWriter.open(small_disk / "store", spec).write("b", 0, make_frames(), attributes={})
    with pytest.raises(StoreError, match="cannot write: Read-only file system"):
        StoreWriter.open(small_disk / "other", spec)
    with pytest.raises(StoreError, match="cannot write: Read-only file system"):
        index(store.root)
    with pytest.raises(StoreError, match="cannot remove: Read-only file system"):
        prune(store.root, songs=["a"])


def test_a_file_in_the_way(tmp_path: Path, spec: Spec) -> None:
    (tmp_path / "store").write_text("mine")
    with pytest.raises(StoreError, match=r"store/zarr.json: cannot write: Not a directory"):
        StoreWriter.open(tmp_path / "store", spec)


def test_an_unknown_protocol(spec: Spec) -> None:
    with pytest.raises(StoreError, match="no file system for this URL"):
        StoreWriter.open("nosuch://bucket/store", spec)


def test_a_missing_bucket(s3: None, spec: Spec) -> None:
    with pytest.raises(StoreError, match=r"s3://absent/store/zarr.json: cannot write: .*bucket does not exist"):
        StoreWriter.open("s3://absent/store", spec)


@pytest.mark.parametrize("code", [errno.EPERM, errno.ENOTSUP])
def test_a_file_system_without_links_or_reserved_space(
    code: int, tmp_path: Path, spec: Spec, make_frames: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: Any) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr("os.link", refuse)
    monkeypatch.setattr("os.posix_fallocate", refuse)
    assert StoreWriter.open(tmp_path / "store", spec).write("a", 0, make_frames(), attributes={})
    assert verify(str(tmp_path / "store")).records == 1
    objects = LocalObjects(str(tmp_path))
    objects.create("x", [b"first"])
    objects.create("x", [b"second"])
    assert objects.get("x") == b"first"


def test_a_link_that_fails_for_another_reason(tmp_path: Path, spec: Spec, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: Any) -> None:
        raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))

    monkeypatch.setattr("os.link", refuse)
    with pytest.raises(StoreError, match=r"store/zarr.json: cannot write: Disk quota exceeded"):
        StoreWriter.open(tmp_path / "store", spec)
    assert not (tmp_path / "store" / "zarr.json").exists()


def test_a_receipt_is_replaced_completely_or_not_at_all(
    tmp_path: Path, fill: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    receipt, store = tmp_path / "receipt.json", EmbeddingStore.open(fill())
    write_receipt(store, receipt)
    before, write = receipt.read_text(), Path.write_text

    def half(path: Path, text: str, **options: Any) -> int:
        write(path, text[: len(text) // 2])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_text", half)
    with pytest.raises(StoreError, match=r"receipt.json: cannot be written: No space left"):
        write_receipt(store, receipt)
    assert receipt.read_text() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["receipt.json", "store.zarr"]


def test_a_short_write_continues(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from store.backends import local

    class Slow:
        def __init__(self) -> None:
            self.data = b""

        def write(self, data: memoryview) -> int:
            self.data += bytes(data[:3])
            return len(data[:3])

    slow = Slow()
    local._write_all(slow, memoryview(b"0123456789"))
    assert slow.data == b"0123456789"


def test_a_truncated_shard_is_refused(tmp_path: Path) -> None:
    objects = LocalObjects(str(tmp_path))
    objects.put("a", [b"12345"])
    buffer = np.zeros(3, np.uint8)
    assert objects.read_into("a", [(2, buffer)]) == [google_crc32c.value(b"345")]
    assert buffer.tobytes() == b"345"
    assert objects.read_into("a", [(3, buffer)]) is None
    assert objects.read_into("b", [(0, buffer)]) is None


def test_a_path_in_an_unknown_home_folder() -> None:
    with pytest.raises(StoreError, match=r"^~nobody-of-this-name/store: Could not determine home directory"):
        EmbeddingStore.open("~nobody-of-this-name/store")


@pytest.mark.parametrize("jump", [-1e9, 0.0, 1e9])
def test_a_clock_that_jumps_removes_no_file_of_another_machine(
    tmp_path: Path, spec: Spec, jump: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    objects = LocalObjects(str(tmp_path))
    staging = tmp_path / ".tmp"
    staging.mkdir()
    fresh, old = staging / "elsewhere.1.a", staging / "elsewhere.2.b"
    for path in (fresh, old):
        path.write_bytes(b"half")
    os.utime(old, (0, 0))
    now = time.time()
    monkeypatch.setattr("time.time", lambda: now + jump)
    objects.sweep()
    assert list(staging.iterdir()) == [fresh]
