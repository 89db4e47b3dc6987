"""Records as dask arrays that read one stream per task; xarray names the axes on request."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from store.backends.objects import Objects
from store.catalogue import CatalogueRow
from store.errors import StoreError
from store.format.metadata import AXES
from store.records import get_record
from store.spec import Spec


class LazyRecords(Mapping[tuple[str, int], Any]):
    """(song, view) → dask array (stream, frame, channel), made on access; see `EmbeddingStore.lazy`.

    Parameters
    ----------
    rows
        The store's records when it was listed.
    numbers
        Positions of the streams to read, in this order.
    named
        Return xarray DataArrays instead.
    """

    def __init__(
        self,
        objects: Objects,
        spec: Spec,
        rows: Mapping[tuple[str, int], CatalogueRow],
        numbers: Sequence[int],
        *,
        named: bool,
    ) -> None:
        self._objects = objects
        self._spec = spec
        self._rows = rows
        self._numbers = numbers
        self._streams = [spec.streams[number] for number in numbers]
        self._named = named
        if named:
            _xarray()

    def __getitem__(self, record: tuple[str, int]) -> Any:
        """Make one record's array; KeyError if the record was not there when the store was listed."""
        row = self._rows[record]
        array = self._array(row)
        if not self._named:
            return array
        attributes = {"song_id": row.song_id, "view": row.view, "seconds": row.seconds}
        return _xarray().DataArray(array, dims=AXES, coords={"stream": self._streams}, attrs=attributes)

    def _array(self, row: CatalogueRow) -> Any:
        import dask.array

        dtype = "float16" if self._spec.dtype == "float16" else "float32"
        name = f"hear-{row.digest[:16]}-{'+'.join(self._streams)}"
        graph = {
            (name, place, 0, 0): (_read_stream, self._objects, self._spec, row.song_id, row.view, number)
            for place, number in enumerate(self._numbers)
        }
        chunks = ((1,) * len(self._numbers), (row.frames,), (self._spec.channels,))
        return dask.array.Array(graph, name, chunks, dtype=dtype)

    def __iter__(self) -> Iterator[tuple[str, int]]:
        """Iterate over (song, view), sorted."""
        return iter(self._rows)

    def __len__(self) -> int:
        """Count the records."""
        return len(self._rows)

    def __repr__(self) -> str:
        library = "xarray" if self._named else "dask"
        return f"LazyRecords({self._objects.root!r}, {len(self)} {library} arrays, streams={self._streams})"


def _read_stream(objects: Objects, spec: Spec, song: str, view: int, number: int) -> NDArray[np.floating]:
    return get_record(objects, spec, song, view, [number]).floats()


def _xarray() -> Any:
    try:
        import xarray
    except ImportError as error:
        raise StoreError("named axes need xarray: install hear-music[xarray]") from error
    return xarray
