"""A receipt tells where its store is, also after both were moved, and to a reader that has only the receipt."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from store import EmbeddingStore, Spec, StoreError, StoreWriter, locate_store, write_receipt


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A folder with embeddings.zarr and its receipt beside it."""
    folder = tmp_path / "däta 1"
    spec = Spec(streams=("a",), channels=2, encoders={}, layers=(0,))
    StoreWriter.open(folder / "embeddings.zarr", spec).write("song", 0, np.ones((1, 3, 2), np.float32), attributes={})
    write_receipt(EmbeddingStore.open(folder / "embeddings.zarr"), folder / "receipt.json")
    return folder


def test_a_receipt_alone_leads_to_its_store(data: Path, tmp_path: Path) -> None:
    shutil.copy(data / "receipt.json", tmp_path / "receipt.json")
    assert locate_store(tmp_path / "receipt.json") == str(data / "embeddings.zarr")
    assert EmbeddingStore.open(locate_store(tmp_path / "receipt.json")).songs == ("song",)


def test_a_store_that_was_moved_with_its_receipt_is_found_beside_it(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved = data.rename(data.with_name("moved"))
    monkeypatch.chdir(moved)
    assert locate_store("receipt.json") == str(moved / "embeddings.zarr")


def test_a_url_is_taken_as_it_is(data: Path) -> None:
    receipt = data / "receipt.json"
    values = {**json.loads(receipt.read_text()), "location": "s3://bucket/embeddings.zarr"}
    receipt.write_text(json.dumps(values))
    assert locate_store(receipt) == "s3://bucket/embeddings.zarr"


def test_a_receipt_that_does_not_tell_says_what_to_do(data: Path) -> None:
    receipt = data / "receipt.json"
    values = json.loads(receipt.read_text())
    del values["location"]
    receipt.write_text(json.dumps(values))
    with pytest.raises(StoreError, match=r"receipt\.json: does not say where its store is; name the store, or run"):
        locate_store(receipt)
