"""Records as dask arrays that read a stream when it is computed; xarray names the axes on request."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from store.errors import StoreError
from store.format.metadata import AXES

if TYPE_CHECKING:
    from store.reader import EmbeddingStore


class LazyRecords(Mapping[tuple[str, int], Any]):
    """(song, view) → a dask array (stream, frame, channel), made when it is asked for; see `EmbeddingStore.lazy`."""

    def __init__(self, store: "EmbeddingStore", streams: Sequence[str] | None, *, named: bool) -> None:
        store.stream_numbers(streams)
        self._store = store
        self._streams = tuple(store.streams if streams is None else streams)
        self._named = named
        if named:
            _xarray()

    def __getitem__(self, record: tuple[str, int]) -> Any:
        """Make one record's array; KeyError for one that was not there when the store was listed."""
        row = self._store.rows[record]
        array = self._array(*record, row.frames, row.digest)
        if not self._named:
            return array
        attributes = {"song_id": row.song_id, "view": row.view, "seconds": row.seconds}
        return _xarray().DataArray(array, dims=AXES, coords={"stream": list(self._streams)}, attrs=attributes)

    def _array(self, song: str, view: int, frames: int, digest: str) -> Any:
        import dask.array

        dtype = "float16" if self._store.spec.dtype == "float16" else "float32"
        name = f"hear-{digest[:16]}-{'+'.join(self._streams)}"
        graph = {
            (name, number, 0, 0): (_read_stream, self._store, song, view, stream)
            for number, stream in enumerate(self._streams)
        }
        chunks = ((1,) * len(self._streams), (frames,), (self._store.channels,))
        return dask.array.Array(graph, name, chunks, dtype=dtype)

    def __iter__(self) -> Iterator[tuple[str, int]]:
        """Go through (song, view), sorted."""
        return iter(self._store.rows)

    def __len__(self) -> int:
        """Count the records."""
        return len(self._store)


def _read_stream(store: "EmbeddingStore", song: str, view: int, stream: str) -> NDArray[np.floating]:
    return store.read(song, view, [stream])


def _xarray() -> Any:
    try:
        import xarray
    except ImportError as error:
        raise StoreError("named axes need xarray: install hear-music[xarray]") from error
    return xarray
