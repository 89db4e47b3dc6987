"""The Dataset over a store, also in spawned DataLoader workers."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from stages.head.data.torch_dataset import StoreDataset
from store import EmbeddingStore, Spec, StoreError, StoreWriter


@pytest.fixture
def store(tmp_path: Path) -> EmbeddingStore:
    spec = Spec(streams=("x", "y"), channels=4, encoders={}, layers=(1,))
    writer = StoreWriter.open(tmp_path / "store.zarr", spec)
    for number, song in enumerate("abc"):
        for view in range(2):
            frames = np.random.default_rng([number, view]).standard_normal((2, 5 + number, 4)).astype(np.float32)
            writer.write(song, view, frames, attributes={})
    return EmbeddingStore.open(writer.root)


def test_items_are_records(store: EmbeddingStore) -> None:
    dataset = StoreDataset(store, songs=["c", "a"], views=[0], streams=["y"])
    assert [(item.song_id, item.view) for item in dataset] == [("a", 0), ("c", 0)]
    frames = dataset[1].frames
    assert (frames.shape, frames.dtype) == ((1, 7, 4), torch.float16)
    np.testing.assert_array_equal(frames.numpy(), store.read("c", 0, ["y"]))
    assert len(StoreDataset(store)) == 6


def test_missing_records_songs_and_stores_are_named(store: EmbeddingStore) -> None:
    with pytest.raises(StoreError, match="no song 'z'"):
        StoreDataset(store, songs=["a", "z"])
    with pytest.raises(StoreError, match="no stream 'z'"):
        StoreDataset(store, streams=["z"])


@pytest.mark.filterwarnings("ignore:This DataLoader will create 2 worker processes:UserWarning")  # on one core
def test_spawned_workers_read_it(store: EmbeddingStore) -> None:
    loader = DataLoader(StoreDataset(store), batch_size=None, num_workers=2, multiprocessing_context="spawn")
    found = {(song, view): frames for frames, song, view in loader}
    assert list(found) == list(store)
    for (song, view), frames in found.items():
        np.testing.assert_array_equal(frames.numpy(), store.read(song, view))
