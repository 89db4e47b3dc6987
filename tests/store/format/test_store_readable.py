"""Reading without this project's code: plain zarr, xarray, dask."""

import base64
import hashlib
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from store import EmbeddingStore, StoreError
from store.backends.objects import Objects
from store.format.metadata import AXES
from store.records import Record, get_record
from store.spec import Spec

Fill = Callable[..., str]


def folder_of(root: str, song: str, view: int) -> str:
    """The path from docs/how-to/read-store.md, without this project's code."""
    key = hashlib.sha256(song.encode()).hexdigest()[:32]
    return f"{root}/records/{key[:2]}/{key}/{view}"


@pytest.mark.parametrize("dtype", ["float16", "float32", "int8"])
def test_plain_zarr_opens_a_record(dtype: str, fill: Fill) -> None:
    root = fill(songs=("söng",), dtype=dtype)
    array = zarr.open_array(folder_of(root, "söng", 1), mode="r")
    assert (array.shape, array.dtype.name, array.metadata.dimension_names) == ((2, 21, 8), dtype, AXES)
    assert (array.attrs["song_id"], array.attrs["view"], array.attrs["seconds"]) == ("söng", 1, 0.84)
    values = array[:]
    if dtype == "int8":
        scale, offset = (
            np.frombuffer(base64.b64decode(array.attrs[name]), "<f4").reshape(2, 1, 8) for name in ("scale", "offset")
        )
        values = values.astype(np.float32) * scale + offset
    store = EmbeddingStore.open(root)
    np.testing.assert_array_equal(values, store.read("söng", 1))
    np.testing.assert_array_equal(array[1:, 3:5], array[:][1:, 3:5])


def test_plain_zarr_reads_the_spec_and_finds_records(fill: Fill) -> None:
    root = fill()
    attributes = zarr.open_group(root, mode="r").attrs
    assert attributes["format"] == "hear-embeddings"
    assert attributes["spec"]["streams"] == list(EmbeddingStore.open(root).streams)
    found = [zarr.open_array(path.parent, mode="r").attrs for path in Path(root).glob("records/*/*/*/zarr.json")]
    assert sorted((record["song_id"], record["view"]) for record in found) == [("a", 0), ("a", 1), ("b", 0), ("b", 1)]


def test_an_array_that_zarr_wrote_is_refused(fill: Fill) -> None:
    root = fill()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        zarr.create_array(folder_of(root, "a", 0), data=np.zeros((2, 20, 8), np.float16), overwrite=True)
    with pytest.raises(StoreError, match="not an array of format 1"):
        EmbeddingStore.open(root).read("a")


def test_xarray_names_the_axes(fill: Fill) -> None:
    pytest.importorskip("xarray", reason="the extra `xarray` is not installed")
    store = EmbeddingStore.open(fill())
    array = store.lazy(named=True)["b", 1]
    assert (array.dims, array.attrs["song_id"]) == (AXES, "b")
    found = array.sel(stream="muq/track").mean("frame").compute(scheduler="synchronous")
    expected = store.read("b", 1, ["muq/track"])[0].mean(axis=0)
    np.testing.assert_allclose(found, expected, atol=1e-3)


def test_lazy_arrays_are_few_tasks_and_differ_by_streams(fill: Fill) -> None:
    store = EmbeddingStore.open(fill())
    whole, one = store.lazy()["a", 0], store.lazy(["muq/track"])["a", 0]
    assert (whole.chunks, one.chunks) == (((1, 1), (20,), (8,)), ((1,), (20,), (8,)))
    assert whole.name != one.name
    with pytest.raises(KeyError, match="q"):
        store.lazy()["q", 0]


def test_lazy_arrays_of_one_stream_do_not_read_others(fill: Fill, monkeypatch: pytest.MonkeyPatch) -> None:
    store, read = EmbeddingStore.open(fill()), []

    def spy(objects: Objects, spec: Spec, song: str, view: int, numbers: Any) -> Record:
        read.append((song, view, numbers))
        return get_record(objects, spec, song, view, numbers)

    monkeypatch.setattr("store.lazy.get_record", spy)
    store.lazy()["a", 0][1].sum().compute(scheduler="synchronous")
    assert read == [("a", 0, [1])]
