"""Reading a store: read-only, from any process, while others write."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from store.backends.objects import Objects
from store.backends.opening import open_objects
from store.catalogue import CatalogueRow, hours, read_rows
from store.errors import StoreError, StoreNotFoundError
from store.files.html_table import html_table
from store.format.arrays import Allocate, await_info, await_replacement, new_bytes
from store.format.keys import METADATA, record_path
from store.format.metadata import FORMAT, VERSION
from store.format.quantisation import Levels, to_floats
from store.progress import Progress
from store.records import check_info, get_record
from store.spec import Root, Spec, read_root

if TYPE_CHECKING:
    import zarr

    from store.lazy import LazyRecords
    from store.summary import Summary


class EmbeddingStore:
    """The records of a store, by song and view; made by `open`.

    `songs`, `views`, `rows` and `len` list the store once, when one of them is first used. `in`, `read`, `frames`,
    `attributes` and `array` access the store each time. Pickling keeps only the place and opens the store again.
    `encoders_from` maps each encoder to the origin of its weights, as the store's maker wrote it; empty if unknown.

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
            It is not an embedding store, a newer version wrote it, or its spec differs (the message names the field).
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
        """Stored frames per second."""
        return self.spec.frame_rate / self.spec.pool

    @cached_property
    def rows(self) -> Mapping[tuple[str, int], CatalogueRow]:
        """(song, view) → the record's row in the catalogue, sorted.

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
        """Iterate over (song, view), sorted."""
        return iter(self.rows)

    def __contains__(self, record: object) -> bool:
        """Whether (song, view) exists."""
        if not isinstance(record, tuple) or len(record) != 2:
            return False
        song, view = record
        if not isinstance(song, str) or not isinstance(view, int | np.integer) or not song or view < 0:
            return False
        path = record_path(song, int(view))
        return self._objects.exists(f"{path}/{METADATA}") or await_replacement(self._objects, [path])

    def read(self, song: str, view: int = 0, streams: Sequence[str] | None = None) -> NDArray[np.floating]:
        """Read a record.

        Parameters
        ----------
        song, view
            The record.
        streams
            Names of the streams to read, in this order; the others are not read. None for all.

        Returns
        -------
        array
            (stream, frame, channel): float16, or float32 if the store holds float32 or int8.

        Raises
        ------
        StoreNotFoundError
            There is no such record.
        StoreError
            The record is damaged, or there is no such stream.
        """
        return to_floats(*self.read_stored(song, view, streams))

    def read_stored(
        self, song: str, view: int = 0, streams: Sequence[str] | None = None, *, allocate: Allocate = new_bytes
    ) -> tuple[NDArray[np.generic], Levels | None]:
        """Read a record in its storage type, into memory that the caller may reuse.

        Parameters
        ----------
        song, view, streams
            As for `read`.
        allocate
            Returns the memory to read into: a flat uint8 array of at least as many bytes as it is given.

        Returns
        -------
        values
            (stream, frame, channel): float16, float32, or int8 codes.
        levels
            For codes, else None: `scale` and `offset`, float32 (stream, channel); a value is offset + scale · code.

        Raises
        ------
        StoreError
            As `read`.
        """
        numbers = None if streams is None else self.stream_numbers(streams)
        record = get_record(self._objects, self.spec, song, view, numbers, allocate=allocate)
        return record.stored, record.levels

    def array(self, song: str, view: int = 0) -> "zarr.Array[Any]":
        """A record as a read-only `zarr.Array` (stream, frame, channel), for tools that take one.

        No data is read yet, and zarr checks the CRC-32C of each stream that it reads. `read` is several times faster.

        Returns
        -------
        zarr.Array
            The values as stored, with the record's attributes as `attrs`. For int8 these are codes: a value is
            `offset + scale · code`, with `scale` and `offset` as Base64 of little-endian float32 (stream, channel).
            If the record is removed later, zarr reads zeros.

        Raises
        ------
        StoreNotFoundError
            There is no such record.
        StoreError
            The record is damaged.
        """
        from store.zarr_array import open_array

        return open_array(self._objects, self.spec, song, view)

    def attributes(self, song: str, view: int = 0) -> dict[str, Any]:
        """Read a record's attributes: song_id, view, frames, and those of its writer (seconds, source, drawn…).

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
        """Mean and standard deviation over time of each record; cached ones come from the catalogue.

        Raises
        ------
        StoreError
            A record is damaged, or there is no such stream.
        """
        from store.summary import summarise

        return summarise(self._objects, self.spec, list(self.rows.values()), self.stream_numbers(streams))

    def summaries(
        self, records: Sequence[tuple[str, int]], streams: Sequence[str] | None = None, *, progress: Progress = iter
    ) -> Iterator[tuple[NDArray[np.intp], NDArray[np.float32]]]:
        """As `summary`, for some records and without holding all values in memory.

        Yields
        ------
        places, values
            Positions (n,) in `records`, and float32 (n, stream, 2·channel). Each record comes once.
        """
        from store.summary import summaries

        rows = [self.rows[record] for record in records]
        return summaries(self._objects, self.spec, rows, self.stream_numbers(streams), progress=progress)

    def lazy(self, streams: Sequence[str] | None = None, *, named: bool = False) -> "LazyRecords":
        """(song, view) → dask array (stream, frame, channel), one chunk per stream; reads data when computed.

        Parameters
        ----------
        streams
            Names of the streams, in this order; None for all.
        named
            Return xarray DataArrays with named axes and the streams as a coordinate; needs the extra `xarray`.

        Raises
        ------
        StoreError
            There is no such stream, xarray is missing, or the store cannot be listed.
        """
        from store.lazy import LazyRecords

        return LazyRecords(self._objects, self.spec, self.rows, self.stream_numbers(streams), named=named)

    def receipt(self) -> dict[str, Any]:
        """Format, version, spec, number of songs and records, and a digest of the records' digests.

        A record's digest covers its data's checksums and its attributes, so no data is read.
        """
        digests = "".join(row.digest for row in self.rows.values())
        return {
            "format": FORMAT,
            "version": VERSION,
            "spec": self.spec.to_json(),
            "songs": len(self.songs),
            "records": len(self),
            "digest": f"sha256:{hashlib.sha256(digests.encode()).hexdigest()}",
        }

    def stream_numbers(self, streams: Sequence[str] | None) -> list[int]:
        """Positions of streams given by name; None for all.

        Raises
        ------
        StoreError
            There is no such stream, or the list is empty.
        """
        if streams is None:
            return list(range(len(self.streams)))
        unknown = [name for name in streams if name not in self.streams]
        if unknown or not streams or isinstance(streams, str):
            wanted = repr(unknown[0]) if unknown else repr(streams)
            raise StoreError(f"{self.root}: no stream {wanted}; give a list of {', '.join(self.streams)}")
        return [self.streams.index(name) for name in streams]

    def __reduce__(self) -> Any:
        return EmbeddingStore.open, (self.root,)

    def __repr__(self) -> str:
        # A store may hold a million records: they are counted only if they are listed already.
        counts = f"{len(self.songs)} songs, {len(self)} records, " if "rows" in vars(self) else ""
        return (
            f"EmbeddingStore({self.root!r}, {counts}streams={self.streams}, channels={self.channels}, "
            f"dtype={self.spec.dtype!r}, frame_rate={self.frame_rate:g})"
        )

    def _repr_html_(self) -> str:
        about = {
            "place": self.root,
            "songs": len(self.songs),
            "records": len(self),
            "hours": f"{hours(self.rows.values(), self.frame_rate):.2f}",
            "streams": ", ".join(self.streams),
            "channels": self.channels,
            "dtype": self.spec.dtype,
            "frames per second": f"{self.frame_rate:g}",
        }
        return html_table(about.items(), title="EmbeddingStore")


def open_store(store: str | Path | EmbeddingStore, *, expect: Spec | None = None) -> EmbeddingStore:
    """Open a store for reading.

    Parameters
    ----------
    store
        A folder, or an fsspec URL such as `s3://bucket/name.zarr`. An open store is returned unchanged.
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
        It is not an embedding store, a newer version wrote it, or it has another spec (the message names the field).

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
