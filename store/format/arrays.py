"""One Zarr v3 array of (stream, frame, channel) as two objects, the shard and then zarr.json.

The shard holds each stream's bytes followed by their CRC-32C, then Zarr's index of offsets and lengths with its own
CRC-32C. Streams are uncompressed and in order, so their offsets are known without the index, and reading is a seek and
a read into the result. Any Zarr v3 reader uses the index and reads the same values.
"""

import math
import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, suppress
from typing import Any

import google_crc32c
import numpy as np
from numpy.typing import NDArray

from store.backends.objects import Bytes, Objects
from store.errors import StoreAccessError, StoreError, StoreNotFoundError
from store.files.json_text import LARGEST
from store.files.regular import IrregularFileError
from store.format.keys import METADATA, SHARD
from store.format.metadata import ArrayInfo, read_array_info
from store.format.quantisation import BLOCK, block_finite
from store.format.rereading import get_document

# Bytes → a flat buffer of at least as many.
Allocate = Callable[[int], NDArray[np.uint8]]

CRC_BYTES = 4
# While a writer replaces a record, a reader may see the old zarr.json with the new shard: it then reads again.
_READ_ATTEMPTS = 5
_READ_PAUSE = 0.02
# First pause in seconds before a reader checks a record without zarr.json again: a writer may be replacing it.
_REPLACING_PAUSE = 0.01
# A writer that finds another writer's shard waits about a second for its zarr.json, in doubling pauses, and then
# replaces it.
_WAITING_ATTEMPTS = 6
_WRITE_ATTEMPTS = 12
_WRITE_PAUSE = 0.02
# Random pauses: two writers in step would replace each other's work for ever. Forks would share a seeded generator.
_PAUSES = random.SystemRandom()
_PAGE = 4096


def checksum(data: Bytes) -> int:
    """CRC-32C of contiguous bytes."""
    return int(google_crc32c.value(data))


def _checksum_of_finite(values: NDArray[np.generic]) -> int:
    """Compute the checksum of flat values and check that they are finite, while they are in a core's cache."""
    crc, length = 0, BLOCK // values.itemsize
    for start in range(0, values.size, length):
        block = values[start : start + length]
        if block.dtype != np.int8 and not block_finite(block):
            raise StoreError("frames hold NaN or infinite values; nothing is stored")
        crc = google_crc32c.extend(crc, block.view(np.uint8))
    return crc


def shard_index(info: ArrayInfo) -> bytes:
    """The shard's last bytes: (offset, length) of each stream as uint64, and their CRC-32C."""
    length = info.stream_bytes + CRC_BYTES
    places = [(stream * length, length) for stream in range(info.shape[0])]
    index = np.array(places, dtype="<u8").tobytes()
    return index + checksum(index).to_bytes(CRC_BYTES, "little")


def shard_size(info: ArrayInfo) -> int:
    """Size of the shard in bytes."""
    return info.shape[0] * (info.stream_bytes + CRC_BYTES + 16) + CRC_BYTES


def put_array(
    objects: Objects,
    path: str,
    values: NDArray[np.generic],
    attributes: Mapping[str, Any],
    *,
    digest: str | None = None,
    replaces: str | None = None,
) -> bool:
    """Write the shard of a C-contiguous (stream, frame, channel) array, then zarr.json, which makes the array exist.

    A thread computes checksums and checks values during the write. An existing array is kept: of several writers of one
    array, the first to place its shard wins, and the others wait for its zarr.json. If it does not come, they
    assume that this writer has died, and replace its shard.

    Parameters
    ----------
    digest
        The digest that the array must have.
    replaces
        Digest of the array to replace; any other array is kept.

    Returns
    -------
    bool
        False if another writer's complete array is there instead.

    Raises
    ------
    StoreError
        A value is NaN or infinite, an attribute is not JSON, or the array does not match `digest` or cannot be written.
        Then it does not exist.
    """
    blank = _describe(values, attributes, (0,) * len(values))
    with ThreadPoolExecutor(1) as thread:
        pending = [thread.submit(_checksum_of_finite, stream.reshape(-1)) for stream in values]
        if digest is not None and digest != _describe(values, attributes, _results(pending)).digest:
            raise StoreError("does not match its digest; its source is damaged")
        parts = _parts(values, (one.result() for one in pending), blank)
        _put_shard(objects, path, parts, shard_size(blank), replaces)
        # If the shard existed, the values were not written; their checks must pass nevertheless.
        info = _describe(values, attributes, _results(pending))
    for attempt in range(_WRITE_ATTEMPTS):
        _publish(objects, path, values, info, replace=attempt >= _WAITING_ATTEMPTS)
        # Meanwhile another writer may have replaced the shard, or a sweep removed it.
        present = _get_complete(objects, path)
        if present is not None:
            return present.digest == info.digest
        time.sleep(_WRITE_PAUSE * 2**attempt * _PAUSES.uniform(0.5, 1.0))
    raise StoreError(f"{objects.root}/{path}: other writers keep replacing this record; give each writer its own songs")


def _results(pending: Iterable[Future[int]]) -> tuple[int, ...]:
    return tuple(one.result() for one in pending)


class _OtherArrayError(StoreError):
    """The array to replace is no longer there."""


def _put_shard(objects: Objects, path: str, parts: Iterable[Bytes], size: int, replaces: str | None) -> None:
    """Write the shard unless there is one, or replace the shard of the array to replace, if that is still there."""
    if replaces is None:
        objects.create(f"{path}/{SHARD}", parts, size=size)
        return
    with suppress(_OtherArrayError), ExitStack() as lock:
        objects.put(f"{path}/{SHARD}", _then_unpublish(objects, path, parts, lock, replaces), size=size)


def _then_unpublish(
    objects: Objects, path: str, parts: Iterable[Bytes], lock: ExitStack, replaces: str | None = None
) -> Iterator[Bytes]:
    """Yield the parts, then remove the old zarr.json, so that it never exists together with the new data.

    The lock then keeps other writers from writing a zarr.json before the new data is in place.
    """
    yield from parts
    lock.enter_context(objects.locked())
    if replaces is not None and _digest_of(objects, path) != replaces:
        raise _OtherArrayError(f"{objects.root}/{path}: is no longer the record to replace")
    objects.delete(f"{path}/{METADATA}")


def _digest_of(objects: Objects, path: str) -> str | None:
    try:
        return get_info(objects, path).digest
    except StoreNotFoundError:
        return None


def _publish(objects: Objects, path: str, values: NDArray[np.generic], info: ArrayInfo, *, replace: bool) -> None:
    """Write the shard unless there is one, then zarr.json if that shard is this writer's; or replace both."""
    shard, metadata, parts = f"{path}/{SHARD}", f"{path}/{METADATA}", _parts(values, info.checksums, info)
    if replace:
        with ExitStack() as lock:
            objects.put(shard, _then_unpublish(objects, path, parts, lock), size=shard_size(info))
            objects.put(metadata, [info.document()])
        return
    if not objects.exists(shard):
        objects.create(shard, parts, size=shard_size(info))
    # Without the lock, the shard may be swept or replaced in between; this writer checks again, unless it is killed.
    with objects.locked():
        if stored_checksums(objects, path, info) == info.checksums:
            objects.create(metadata, [info.document()])


def _get_complete(objects: Objects, path: str) -> ArrayInfo | None:
    """The array's zarr.json; None if it is missing, or the shard belongs to another array."""
    try:
        info = get_info(objects, path)
    except StoreNotFoundError:
        return None
    return info if stored_checksums(objects, path, info) == info.checksums else None


def remove_array(objects: Objects, path: str, *, removed: Callable[[], object] = lambda: None) -> None:
    """Remove an array: its zarr.json first, then `removed` is called, then its shard; a failure leaves only litter."""
    objects.delete(f"{path}/{METADATA}")
    removed()
    objects.delete_unless(f"{path}/{SHARD}", f"{path}/{METADATA}")


def _describe(values: NDArray[np.generic], attributes: Mapping[str, Any], checksums: tuple[int, ...]) -> ArrayInfo:
    """Encode and decode zarr.json, so that the attributes are those that a reader will get."""
    streams, frames, channels = values.shape
    info = ArrayInfo((streams, frames, channels), values.dtype.name, checksums, dict(attributes))
    return read_array_info(info.document(), "attributes")


def _parts(values: NDArray[np.generic], checksums: Iterable[int], info: ArrayInfo) -> Iterator[Bytes]:
    """The shard's bytes in order; each checksum is requested only after its stream."""
    remaining = iter(checksums)
    for data in _stream_bytes(values):
        yield data
        yield next(remaining).to_bytes(CRC_BYTES, "little")
    yield shard_index(info)


def stored_checksums(objects: Objects, path: str, info: ArrayInfo) -> tuple[int, ...] | None:
    """Read the streams' checksums from the shard, without its data; None if the shard is missing or too short."""
    length = info.stream_bytes + CRC_BYTES
    buffers = [np.empty(CRC_BYTES, dtype=np.uint8) for _ in info.checksums]
    pieces = [(stream * length + info.stream_bytes, buffer) for stream, buffer in enumerate(buffers)]
    if objects.read_into(f"{path}/{SHARD}", pieces) is None:
        return None
    return tuple(int.from_bytes(buffer.tobytes(), "little") for buffer in buffers)


def get_info(objects: Objects, path: str) -> ArrayInfo:
    """Read the array's zarr.json.

    Raises
    ------
    StoreNotFoundError
        There is no such array.
    StoreError
        It is damaged.
    """
    key = f"{path}/{METADATA}"
    try:
        info = get_document(objects, key, lambda data: read_array_info(data, f"{objects.root}/{key}"))
    except IrregularFileError as error:
        raise StoreError(f"{error}; run hear-store verify --repair") from error
    if info is None:
        raise StoreNotFoundError(f"{objects.root}/{path}: no such record")
    return info


def await_info(objects: Objects, path: str) -> ArrayInfo:
    """Read the array's zarr.json; wait for it while a writer replaces the array. Raises as `get_info`."""
    while True:
        try:
            return get_info(objects, path)
        except StoreNotFoundError:
            # The next replacement may begin before zarr.json is read: then wait again.
            if not await_replacement(objects, [path]):
                raise


def await_replacement(objects: Objects, paths: Sequence[str]) -> bool:
    """Wait while some of these arrays have data but no zarr.json, as happens briefly during a replacement.

    If a writer was killed at that moment, the wait ends after the `wait_seconds` of these objects.

    Returns
    -------
    bool
        Whether one of them has its zarr.json now.
    """
    waiting, complete, pause, deadline = list(paths), 0, _REPLACING_PAUSE, time.monotonic() + objects.wait_seconds
    while True:
        found = {path for path in waiting if objects.exists(f"{path}/{METADATA}")}
        complete += len(found)
        waiting = [path for path in waiting if path not in found and objects.exists(f"{path}/{SHARD}")]
        if not waiting or time.monotonic() > deadline:
            return complete > 0
        time.sleep(pause)
        pause *= 2


def new_bytes(size: int) -> NDArray[np.uint8]:
    """New memory of `size` bytes."""
    return np.empty(size, dtype=np.uint8)


def get_array(
    objects: Objects,
    path: str,
    streams: Sequence[int] | None = None,
    *,
    check: Callable[[ArrayInfo], None] = lambda info: None,
    allocate: Allocate = new_bytes,
) -> tuple[NDArray[np.generic], ArrayInfo]:
    """Read an array, or some of its streams, and check their CRC-32C.

    Parameters
    ----------
    check
        Raises a StoreError for an array that the caller does not expect, before memory is allocated for it.
    allocate
        Returns the memory to read into, at least as many bytes as it is given.

    Raises
    ------
    StoreNotFoundError
        There is no such array.
    StoreError
        It is damaged, or refused.
    StoreAccessError
        Each read returns different bytes, or too few.
    """
    found: list[tuple[str, list[int] | None]] = []
    for attempt in range(_READ_ATTEMPTS):
        if attempt:
            time.sleep(_READ_PAUSE * attempt)
        info = await_info(objects, path)
        check(info)
        wanted = range(info.shape[0]) if streams is None else streams
        values, checksums = _get_streams(objects, path, info, wanted, allocate)
        if checksums == [info.checksums[stream] for stream in wanted]:
            return values, info
        found.append((info.digest, checksums))
    if found[-1] != found[-2]:
        raise StoreAccessError(f"{objects.root}/{path}: cannot read: each attempt returned different bytes; try again")
    raise StoreError(
        f"{objects.root}/{path}: the data is missing or does not match its checksum; "
        "run hear-store verify --repair, then extract this song again"
    )


def _get_streams(
    objects: Objects, path: str, info: ArrayInfo, streams: Sequence[int], allocate: Allocate
) -> tuple[NDArray[np.generic], list[int] | None]:
    """The values, and the checksum of each stream as read; None if the data is missing or has another size."""
    size = shard_size(info)
    # An untrusted document may claim any size. Below this size, checking takes longer than it saves.
    if size > LARGEST and objects.size(f"{path}/{SHARD}") != size:
        return np.empty(0, info.dtype), None
    values = _empty((len(streams), *info.shape[1:]), info.dtype, allocate)
    length = info.stream_bytes + CRC_BYTES
    pieces = [(stream * length, data) for stream, data in zip(streams, _stream_bytes(values), strict=True)]
    return values, objects.read_into(f"{path}/{SHARD}", pieces)


def _empty(shape: tuple[int, ...], dtype: str, allocate: Allocate) -> NDArray[np.generic]:
    """An array in the memory that `allocate` returns, a quarter of a page after the start of a page.

    AMD's Zen copies from the page cache at a third of the speed if the target is less than 64 bytes after the source
    within a page. This happens with np.empty (16 bytes) and a file of streams with checksums (4 bytes each).
    """
    size = math.prod(shape) * np.dtype(dtype).itemsize
    try:
        buffer = allocate(size + 2 * _PAGE)
    except (MemoryError, ValueError, OverflowError) as error:
        raise StoreError(f"not enough memory for an array of {shape} {dtype}: {size} bytes") from error
    start = _PAGE // 4 - buffer.ctypes.data % _PAGE
    start += _PAGE if start < 0 else 0
    return buffer[start : start + size].view(dtype).reshape(shape)


def _stream_bytes(values: NDArray[np.generic]) -> list[NDArray[np.uint8]]:
    """Each stream as a flat view of bytes."""
    return [stream.reshape(-1).view(np.uint8) for stream in values]
