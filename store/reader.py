"""Reading a store: read-only, from any process, while others write."""

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from store.backends.objects import Objects
from store.backends.opening import open_objects
from store.catalogue import CatalogueRow, read_rows
from store.errors import StoreError, StoreNotFoundError
from store.format.arrays import await_info, await_replaced
from store.format.keys import METADATA, record_path
from store.records import check_info, get_record
from store.spec import Root, Spec, read_root

if TYPE_CHECKING:
    from store.lazy import LazyRecords
    from store.summary import Summary


class EmbeddingStore:
    """The records of a store, by song and view; made by `open`.

    `songs`, `views`, `rows` and `len` are what there was when one of them was first asked for; `in`, `read`, `frames`
    and `attributes` look at the store each time. Pickles as its place: another process opens it anew.
    `encoders_from` says by encoder where its weights came from, as the store's maker wrote it; empty: nobody knows.

    Examples
    --------
    >>> import hear_music as hear
    >>> store = hear.open_store("embeddings.zarr")
    >>> store.songs
    ('song 0', 'song 1', ...)
    >>> store.read("song 0").shape  # (stream, frame, channel)
    (4, 50, 64)
    """

    def __init__(self, objects: Objects, root: Root) -> None:
        self._objects = objects
        self.root = objects.root
        self.spec = root.spec
        self.encoders_from = root.encoders_from

    @classmethod
    def open(cls, root: str | Path, *, expect: Spec | None = None) -> "EmbeddingStore":
        """Open a store.

        Parameters
        ----------
        root
            A folder, or an fsspec URL such as `s3://bucket/name.zarr`.
        expect
            The spec that it must have.

        Raises
        ------
        StoreNotFoundError
            There is no store.
        StoreError
            It is none of ours, a newer version's, or has another spec (the message names the field).
        """
        objects = open_objects(str(root))
        root_found = read_root(objects)
        if expect is not None:
            expect.check(root_found.spec, objects.root)
        return cls(objects, root_found)

    @property
    def streams(self) -> tuple[str, ...]:
        """Names of the streams, in stored order."""
        return self.spec.streams

    @property
    def channels(self) -> int:
        """C, of each stream."""
        return self.spec.channels

    @property
    def frame_rate(self) -> float:
        """Stored frames a second."""
        return self.spec.frame_rate / self.spec.pool

    @cached_property
    def rows(self) -> Mapping[tuple[str, int], CatalogueRow]:
        """(song, view) → what the catalogue says of it, sorted.

        Raises
        ------
        StoreError
            The store cannot be listed, or a record is damaged.
        """
        return read_rows(self._objects, self.spec)

    @cached_property
    def _views(self) -> dict[str, tuple[int, ...]]:
        views: dict[str, tuple[int, ...]] = {}
        for song, view in self.rows:
            views[song] = (*views.get(song, ()), view)
        return views

    @property
    def songs(self) -> tuple[str, ...]:
        """Song ids, sorted."""
        return tuple(self._views)

    def views(self, song: str) -> tuple[int, ...]:
        """The song's views, ascending.

        Raises
        ------
        StoreNotFoundError
            The song is not in the store.
        """
        if song not in self._views:
            raise StoreNotFoundError(f"{self.root}: no song {song!r} among {len(self._views)}; see hear-store info")
        return self._views[song]

    def __len__(self) -> int:
        """Count the records."""
        return len(self.rows)

    def __iter__(self) -> Iterator[tuple[str, int]]:
        """Go through (song, view), sorted."""
        return iter(self.rows)

    def __contains__(self, record: object) -> bool:
        """Tell whether (song, view) exists."""
        if not isinstance(record, tuple) or len(record) != 2:
            return False
        song, view = record
        if not isinstance(song, str) or not isinstance(view, int | np.integer) or not song or view < 0:
            return False
        path = record_path(song, int(view))
        return self._objects.exists(f"{path}/{METADATA}") or await_replaced(self._objects, [path])

    def read(self, song: str, view: int = 0, streams: Sequence[str] | None = None) -> NDArray[np.floating]:
        """Read a record.

        Parameters
        ----------
        song, view
            Which record.
        streams
            Names of the streams wanted, in the order wanted; others are not read. None for all.

        Returns
        -------
        array
            (stream, frame, channel): float16, or float32 where the store holds float32 or int8.

        Raises
        ------
        StoreNotFoundError
            There is no such record.
        StoreError
            It is damaged, or there is no such stream.
        """
        return get_record(self._objects, self.spec, song, view, self.stream_numbers(streams)).floats()

    def attributes(self, song: str, view: int = 0) -> dict[str, Any]:
        """Read what is known of a record: song_id, view, frames, and what its writer added (seconds, source, drawn…).

        Raises
        ------
        StoreError
            There is no such record, or it is damaged.
        """
        path = record_path(song, view)
        info = await_info(self._objects, path)
        check_info(info, self.spec, song, view, f"{self.root}/{path}/{METADATA}")
        return info.attributes

    def frames(self, song: str, view: int = 0) -> int:
        """T of a record, without reading its data; raises as `attributes`."""
        return await_info(self._objects, record_path(song, view)).shape[1]

    def summary(self, streams: Sequence[str] | None = None) -> "Summary":
        """Mean and standard deviation over time of each record; from the catalogue where it has them.

        Raises
        ------
        StoreError
            A record is damaged, or there is no such stream.
        """
        from store.summary import summarise

        return summarise(self, streams)

    def lazy(self, streams: Sequence[str] | None = None, *, named: bool = False) -> "LazyRecords":
        """(song, view) → dask array (stream, frame, channel), a chunk a stream; nothing is read yet.

        Parameters
        ----------
        streams
            Names of the streams wanted, in the order wanted; None for all.
        named
            Give xarray DataArrays with the axes named and the streams as a coordinate; needs the extra `xarray`.

        Raises
        ------
        StoreError
            There is no such stream, or xarray is missing.
        """
        from store.lazy import LazyRecords

        return LazyRecords(self, streams, named=named)

    def receipt(self) -> dict[str, Any]:
        """What the store holds, in short; see `store.receipt`."""
        from store.receipt import make_receipt

        return make_receipt(self)

    def stream_numbers(self, streams: Sequence[str] | None) -> list[int] | None:
        """Positions of streams given by name; None for None.

        Raises
        ------
        StoreError
            There is no such stream, or none is asked for.
        """
        if streams is None:
            return None
        unknown = [name for name in streams if name not in self.streams]
        if unknown or not streams or isinstance(streams, str):
            wanted = repr(unknown[0]) if unknown else repr(streams)
            raise StoreError(f"{self.root}: no stream {wanted}; give a list of {', '.join(self.streams)}")
        return [self.streams.index(name) for name in streams]

    def __reduce__(self) -> Any:
        return EmbeddingStore.open, (self.root,)

    def __repr__(self) -> str:
        return f"EmbeddingStore({self.root!r}, streams={self.streams}, channels={self.channels})"


def open_store(store: str | Path | EmbeddingStore, *, expect: Spec | None = None) -> EmbeddingStore:
    """Open a store for reading.

    Parameters
    ----------
    store
        A folder, or an fsspec URL such as `s3://bucket/name.zarr`. A store that is open already is returned as it is.
    expect
        The spec that the store must have.

    Returns
    -------
    EmbeddingStore
        The store.

    Raises
    ------
    StoreNotFoundError
        There is no store.
    StoreError
        It is not a store of HEAR, a newer version wrote it, or it has another spec (the message names the field).

    Examples
    --------
    >>> import hear_music as hear
    >>> store = hear.open_store("embeddings.zarr")
    >>> len(store)
    8
    """
    if not isinstance(store, EmbeddingStore):
        return EmbeddingStore.open(store, expect=expect)
    if expect is not None:
        expect.check(store.spec, store.root)
    return store
