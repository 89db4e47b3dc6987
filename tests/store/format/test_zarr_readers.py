"""The store's own bytes: zarr-python, zarrs and TensorStore read them, and zarr-python writes the same ones."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from numpy.typing import NDArray

from store.backends.opening import open_objects
from store.format.arrays import put_array
from store.format.keys import METADATA, SHARD

DTYPES = ("float16", "float32", "int8")
# Streams, frames, channels.
SHAPES = ((1, 1, 1), (1, 1, 5), (2, 20, 8), (5, 33, 3))

Reader = Callable[[Path], Any]


def read_with_zarr(folder: Path) -> Any:
    return zarr.open_array(folder, mode="r")


def read_with_tensorstore(folder: Path) -> Any:
    tensorstore = pytest.importorskip("tensorstore", reason="no wheel of tensorstore for this platform")
    spec = {"driver": "zarr3", "kvstore": {"driver": "file", "path": f"{folder}/"}}
    array = tensorstore.open(spec, open=True, read=True).result()
    # `.read()` turns its lazy views into arrays.
    return type("Array", (), {"__getitem__": lambda self, place: array[place].read().result()})()


@pytest.fixture(params=["zarr-python", "zarrs", "tensorstore"])
def reader(request: pytest.FixtureRequest) -> Iterator[Reader]:
    """A function (folder of an array) → an object to index, for each reader."""
    if request.param == "tensorstore":
        yield read_with_tensorstore
        return
    if request.param == "zarr-python":
        yield read_with_zarr
        return
    pytest.importorskip("zarrs", reason="no wheel of zarrs for this platform")
    with zarr.config.set({"codec_pipeline.path": "zarrs.ZarrsCodecPipeline"}):
        yield read_with_zarr


def draw(dtype: str, shape: tuple[int, ...]) -> NDArray[Any]:
    """Values over the whole range of a type, without zeros, as zarr does not write chunks of zeros."""
    rng = np.random.default_rng(0)
    if dtype == "int8":
        return np.where(rng.random(shape) < 0.5, rng.integers(-127, 0, shape), rng.integers(1, 128, shape)).astype(
            dtype
        )
    values = (rng.standard_normal(shape) * 100).astype(dtype)
    values.flat[0] = np.finfo(dtype).max
    values.flat[-1] = np.finfo(dtype).smallest_subnormal
    return values


def write(folder: Path, values: NDArray[Any]) -> Path:
    put_array(open_objects(str(folder)), "array", values, {"song_id": "söng"})
    return folder / "array"


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_each_reader_reads_all_and_parts(reader: Reader, dtype: str, shape: tuple[int, ...], tmp_path: Path) -> None:
    values = draw(dtype, shape)
    array = reader(write(tmp_path, values))
    # TensorStore neither counts from the end nor clips slices.
    _, frames, channels = shape
    middle = np.s_[:, frames // 3 : frames - frames // 3, channels // 2 : channels]
    for place in (..., 0, np.s_[:, :, 0], np.s_[:1, :1, :1], middle):
        found = np.asarray(array[place])
        assert found.dtype == dtype
        np.testing.assert_array_equal(found, values[place])


@pytest.mark.parametrize("dtype", DTYPES)
def test_each_reader_notices_damage_in_any_stream(reader: Reader, dtype: str, tmp_path: Path) -> None:
    folder = write(tmp_path, draw(dtype, (3, 4, 5)))
    shard = folder / SHARD
    good = shard.read_bytes()
    stream = len(draw(dtype, (1, 4, 5)).tobytes()) + 4
    for place in (0, stream + 7, 3 * stream - 1, len(good) - 1):
        data = bytearray(good)
        data[place] ^= 1
        shard.write_bytes(data)
        with pytest.raises(Exception, match=r"(?i)checksum|crc|digest"):
            np.asarray(reader(folder)[...])


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_zarr_python_writes_the_same_shard(dtype: str, shape: tuple[int, ...], tmp_path: Path) -> None:
    values = draw(dtype, shape)
    folder = write(tmp_path, values)
    (tmp_path / "theirs").mkdir()
    shutil.copy(folder / METADATA, tmp_path / "theirs")
    zarr.open_array(tmp_path / "theirs", mode="r+")[...] = values
    assert (tmp_path / "theirs" / SHARD).read_bytes() == (folder / SHARD).read_bytes()
