"""A store as a torch Dataset, for your own models; the store itself does not need torch."""

from collections.abc import Collection, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.data import Dataset

from store import EmbeddingStore


class StoredView(NamedTuple):
    """One record: frames (stream, frame, channel), float16 or float32 as from `EmbeddingStore.read`."""

    frames: Tensor
    song_id: str
    view: int


class StoreDataset(Dataset[StoredView]):
    """The chosen records, sorted by song and view; each is read on access, also in spawned workers."""

    def __init__(
        self, store: EmbeddingStore, records: Sequence[tuple[str, int]], streams: Sequence[str] | None
    ) -> None:
        self.store = store
        self.records = tuple(records)
        self.streams = streams

    def __len__(self) -> int:
        """Count the records."""
        return len(self.records)

    def __getitem__(self, number: int) -> StoredView:
        """Read one record.

        Raises
        ------
        StoreError
            It is damaged, or was removed.
        """
        song, view = self.records[number]
        return StoredView(torch.from_numpy(self.store.read(song, view, self.streams)), song, view)


def as_torch(
    store: EmbeddingStore,
    *,
    songs: Collection[str] | None = None,
    views: Collection[int] | None = None,
    streams: Sequence[str] | None = None,
) -> StoreDataset:
    """Make a Dataset of the store's records.

    Parameters
    ----------
    store
        The embeddings.
    songs, views
        Which records; None for all.
    streams
        Names of streams; None for all.

    Raises
    ------
    StoreError
        A song or stream is not in the store.
    """
    store.stream_numbers(streams)
    wanted = set(store.songs if songs is None else songs)
    for song in sorted(wanted):
        store.views(song)
    records = [(song, view) for song, view in store if song in wanted and (views is None or view in views)]
    return StoreDataset(store, records, streams)
