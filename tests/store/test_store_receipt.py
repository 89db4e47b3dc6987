"""A receipt gives the location of its store, even after both were moved."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from store import EmbeddingStore, Spec, StoreError, StoreWriter, locate_store, write_receipt


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A folder with embeddings.zarr and its receipt."""
    folder = tmp_path / "däta 1"
    spec = Spec(streams=("a",), channels=2, encoders={}, layers=(0,))
    StoreWriter.open(folder / "embeddings.zarr", spec).write("song", 0, np.ones((1, 3, 2), np.float32), attributes={})
    write_receipt(EmbeddingStore.open(folder / "embeddings.zarr"), folder / "receipt.json")
    return folder


def test_a_receipt_leads_to_its_store(data: Path, tmp_path: Path) -> None:
    shutil.copy(data / "receipt.json", tmp_path / "receipt.json")
    assert locate_store(tmp_path / "receipt.json") == str(data / "embeddings.zarr")
    assert EmbeddingStore.open(locate_store(tmp_path / "receipt.json")).songs == ("song",)


def test_a_store_moved_with_its_receipt_is_found(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    moved = data.rename(data.with_name("moved"))
    monkeypatch.chdir(moved)
    assert locate_store("receipt.json") == str(moved / "embeddings.zarr")


def test_a_url_is_kept_unchanged(data: Path) -> None:
    receipt = data / "receipt.json"
    values = {**json.loads(receipt.read_text()), "location": "s3://bucket/embeddings.zarr"}
    receipt.write_text(json.dumps(values))
    assert locate_store(receipt) == "s3://bucket/embeddings.zarr"


@pytest.mark.parametrize("linked", [False, True])
def test_pipes_and_devices_are_written_to_directly(data: Path, tmp_path: Path, linked: bool) -> None:
    pipe, link = tmp_path / "pipe", tmp_path / "link"
    os.mkfifo(pipe)
    link.symlink_to(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        write_receipt(EmbeddingStore.open(data / "embeddings.zarr"), link if linked else pipe)
        assert os.read(reader, 1 << 16) == (data / "receipt.json").read_bytes()
    finally:
        os.close(reader)
    assert (pipe.is_fifo(), link.readlink()) == (True, pipe)
    assert {path.name for path in tmp_path.iterdir()} == {data.name, "pipe", "link"}


def test_a_link_to_an_open_file_such_as_dev_stdout_is_kept(data: Path, tmp_path: Path) -> None:
    link = tmp_path / "stdout"
    with (tmp_path / "shown.json").open("w") as shown:
        link.symlink_to(f"/dev/fd/{shown.fileno()}")
        write_receipt(EmbeddingStore.open(data / "embeddings.zarr"), link)
    assert link.is_symlink()
    assert (tmp_path / "shown.json").read_bytes() == (data / "receipt.json").read_bytes()


def test_a_link_into_a_cache_is_replaced_and_the_cache_is_kept(data: Path, tmp_path: Path) -> None:
    cached, link = tmp_path / "cached", tmp_path / "receipt.json"
    cached.write_text("of another run")
    link.symlink_to(cached)
    write_receipt(EmbeddingStore.open(data / "embeddings.zarr"), link)
    assert cached.read_text() == "of another run"
    assert link.read_bytes() == (data / "receipt.json").read_bytes()


def test_a_receipt_without_a_location_gives_the_remedy(data: Path) -> None:
    receipt = data / "receipt.json"
    values = json.loads(receipt.read_text())
    del values["location"]
    receipt.write_text(json.dumps(values))
    with pytest.raises(StoreError, match=r"receipt\.json: does not say where its store is; name the store, or run"):
        locate_store(receipt)
