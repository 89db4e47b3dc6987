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
    """Records of a store, sorted by song and view; each is read on access, also in spawned workers.

    Parameters
    ----------
    store
        Where to read.
    songs, views
        Which records; all if None.
    streams
        Names of the streams to read; all if None.

    Raises
    ------
    StoreError
        A song or stream is not in the store.

    Examples
    --------
    >>> import hear_music as hear
    >>> from torch.utils.data import DataLoader
    >>> dataset = hear.StoreDataset(hear.open_store("embeddings.zarr"), views=[0], streams=["muq/track"])
    >>> for frames, song_id, view in DataLoader(dataset, batch_size=None):
    ...     print(song_id, frames.shape)  # (stream, frame, channel)
    song 0 torch.Size([1, 50, 64])
    song 1 torch.Size([1, 50, 64])
    song 2 ...
    """

    def __init__(
        self,
        store: EmbeddingStore,
        *,
        songs: Collection[str] | None = None,
        views: Collection[int] | None = None,
        streams: Sequence[str] | None = None,
    ) -> None:
        store.stream_numbers(streams)
        wanted = set(store.songs if songs is None else songs)
        for song in sorted(wanted):
            store.views(song)
        self.store = store
        self.records = tuple(
            (song, view) for song, view in store if song in wanted and (views is None or view in views)
        )
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
