"""One Zarr v3 array of (stream, frame, channel) as two objects, the shard and then zarr.json.

The shard: each stream's bytes followed by their CRC-32C, then Zarr's index of offsets and lengths, with its own
CRC-32C. As streams are stored uncompressed and in order, their places are known without the index, and reading is a
seek and a read into the result. Any Zarr v3 reader goes by the index and finds the same.
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

CRC_BYTES = 4
# While a writer replaces a record, a reader may see the old zarr.json with the new shard: it looks again.
_READ_ATTEMPTS = 5
_READ_PAUSE = 0.02
# Seconds until a reader looks again at a record that has data and no zarr.json: a writer may be replacing it.
_REPLACING_PAUSE = 0.01
# A writer that finds another's shard waits for its zarr.json for about a second, in doubling pauses, before it insists.
_PATIENT_ATTEMPTS = 6
_WRITE_ATTEMPTS = 12
_WRITE_PAUSE = 0.02
# The system's: two that insist in step would undo each other's work for ever, and forks share a seeded state.
_PAUSES = random.SystemRandom()
_PAGE = 4096


def checksum(data: Bytes) -> int:
    """CRC-32C of contiguous bytes."""
    return int(google_crc32c.value(data))


def _checksum_of_finite(values: NDArray[np.generic]) -> int:
    """Checksum of flat values, and the test that they are finite, while they are in a core's cache."""
    crc, length = 0, BLOCK // values.itemsize
    for start in range(0, values.size, length):
        block = values[start : start + length]
        if block.dtype != np.int8 and not block_finite(block):
            raise StoreError("frames hold NaN or infinite values; nothing is stored")
        crc = google_crc32c.extend(crc, block.view(np.uint8))
    return crc


def shard_index(info: ArrayInfo) -> bytes:
    """The shard's last bytes: (offset, length) of each stream as uint64, and the CRC-32C of these."""
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
    """Put the shard of a C-contiguous (stream, frame, channel) array, then zarr.json: with this the array exists.

    Checksums are computed, and values tested, in a thread while they are written. Nothing that is there is replaced: of
    several writers of one array the first to have placed its shard has the array, and the others wait for it. One that
    waits in vain takes that one for dead, and insists on its own.

    Returns
    -------
    bool
        False where another writer's array, made at the same time, stands there, whole.

    Raises
    ------
    StoreError
        A value is NaN or infinite, an attribute is not JSON, the array is not what `digest` says, or it cannot be
        written. It does not exist then.
    """
    blank = _describe(values, attributes, (0,) * len(values))
    with ThreadPoolExecutor(1) as thread:
        pending = [thread.submit(_checksum_of_finite, stream.reshape(-1)) for stream in values]
        if digest is not None and digest != _describe(values, attributes, _results(pending)).digest:
            raise StoreError("not what its digest says; its source is damaged")
        parts = _parts(values, (one.result() for one in pending), blank)
        _put_shard(objects, path, parts, shard_size(blank), replaces)
        # A shard that is there already has been left unread: values are tested nevertheless.
        info = _describe(values, attributes, _results(pending))
    for attempt in range(_WRITE_ATTEMPTS):
        _place(objects, path, values, info, insist=attempt >= _PATIENT_ATTEMPTS)
        # Another writer may have insisted, or a sweep removed the shard, in between.
        standing = _get_whole(objects, path)
        if standing is not None:
            return standing.digest == info.digest
        time.sleep(_WRITE_PAUSE * 2**attempt * _PAUSES.uniform(0.5, 1.0))
    raise StoreError(f"{objects.root}/{path}: other writers keep replacing this record; give each its own songs")


def _results(pending: Iterable[Future[int]]) -> tuple[int, ...]:
    return tuple(one.result() for one in pending)


class _OtherArrayError(StoreError):
    """What stands there is not what was to be replaced."""


def _put_shard(objects: Objects, path: str, parts: Iterable[Bytes], size: int, replaces: str | None) -> None:
    """Put the shard where there is none, or for that of the array that is to be replaced, if it still stands there."""
    if replaces is None:
        objects.create(f"{path}/{SHARD}", parts, size=size)
        return
    with suppress(_OtherArrayError), ExitStack() as guard:
        objects.put(f"{path}/{SHARD}", _then_hidden(objects, path, parts, guard, replaces), size=size)


def _then_hidden(
    objects: Objects, path: str, parts: Iterable[Bytes], guard: ExitStack, replaces: str | None = None
) -> Iterator[Bytes]:
    """The parts; once the last is taken, the old zarr.json is removed, so that it never stands beside the new data.

    The guard then keeps others from putting a zarr.json there before the new data is in place.
    """
    yield from parts
    guard.enter_context(objects.locked())
    if replaces is not None and _digest_of(objects, path) != replaces:
        raise _OtherArrayError(f"{objects.root}/{path}: is no longer the record to replace")
    objects.delete(f"{path}/{METADATA}")


def _digest_of(objects: Objects, path: str) -> str | None:
    try:
        return get_info(objects, path).digest
    except StoreNotFoundError:
        return None


def _place(objects: Objects, path: str, values: NDArray[np.generic], info: ArrayInfo, *, insist: bool) -> None:
    """Put the shard unless there is one, then zarr.json if that shard is ours; or replace both."""
    shard, metadata, parts = f"{path}/{SHARD}", f"{path}/{METADATA}", _parts(values, info.checksums, info)
    if insist:
        with ExitStack() as guard:
            objects.put(shard, _then_hidden(objects, path, parts, guard), size=shard_size(info))
            objects.put(metadata, [info.document()])
        return
    if not objects.exists(shard):
        objects.create(shard, parts, size=shard_size(info))
    # Without the guard, the shard may be swept or replaced in between; this writer looks again, unless it is killed.
    with objects.locked():
        if stored_checksums(objects, path, info) == info.checksums:
            objects.create(metadata, [info.document()])


def _get_whole(objects: Objects, path: str) -> ArrayInfo | None:
    """The array's zarr.json; None where it is missing, or the shard is another's."""
    try:
        info = get_info(objects, path)
    except StoreNotFoundError:
        return None
    return info if stored_checksums(objects, path, info) == info.checksums else None


def remove_array(objects: Objects, path: str, *, removed: Callable[[], object] = lambda: None) -> None:
    """Remove an array; after its zarr.json it exists no more, and `removed` is told: a failure then leaves litter."""
    objects.delete(f"{path}/{METADATA}")
    removed()
    objects.delete_unless(f"{path}/{SHARD}", f"{path}/{METADATA}")


def _describe(values: NDArray[np.generic], attributes: Mapping[str, Any], checksums: tuple[int, ...]) -> ArrayInfo:
    """Through its document and back: attributes become what a reader will find."""
    streams, frames, channels = values.shape
    info = ArrayInfo((streams, frames, channels), values.dtype.name, checksums, dict(attributes))
    return read_array_info(info.document(), "attributes")


def _parts(values: NDArray[np.generic], checksums: Iterable[int], info: ArrayInfo) -> Iterator[Bytes]:
    """The shard's bytes in order; a stream's checksum is asked for when the stream has been taken."""
    remaining = iter(checksums)
    for data in _stream_bytes(values):
        yield data
        yield next(remaining).to_bytes(CRC_BYTES, "little")
    yield shard_index(info)


def stored_checksums(objects: Objects, path: str, info: ArrayInfo) -> tuple[int, ...] | None:
    """The streams' checksums as the shard has them, without its data; None where the shard is missing or too short."""
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
    """Read the array's zarr.json, and wait for it while a writer replaces the array; raises as `get_info`."""
    try:
        return get_info(objects, path)
    except StoreNotFoundError:
        if not await_replacement(objects, [path]):
            raise
    return get_info(objects, path)


def await_replacement(objects: Objects, paths: Sequence[str]) -> bool:
    """Wait while some of these have data and no zarr.json, as an array has for the moment in which it is replaced.

    Where a writer was killed at that moment, they are given up after the `wait_seconds` of these objects.

    Returns
    -------
    bool
        Whether one has its zarr.json now.
    """
    waiting, come, pause, deadline = list(paths), 0, _REPLACING_PAUSE, time.monotonic() + objects.wait_seconds
    while True:
        there = {path for path in waiting if objects.exists(f"{path}/{METADATA}")}
        come += len(there)
        waiting = [path for path in waiting if path not in there and objects.exists(f"{path}/{SHARD}")]
        if not waiting or time.monotonic() > deadline:
            return come > 0
        time.sleep(pause)
        pause *= 2


def get_array(
    objects: Objects,
    path: str,
    streams: Sequence[int] | None = None,
    *,
    check: Callable[[ArrayInfo], None] = lambda info: None,
) -> tuple[NDArray[np.generic], ArrayInfo]:
    """Read an array, or some of its streams, and check their CRC-32C.

    Parameters
    ----------
    check
        Refuses an array that is not what the caller expects, with a StoreError, before memory is taken for it.

    Raises
    ------
    StoreNotFoundError
        There is no such array.
    StoreError
        It is damaged, or refused.
    StoreAccessError
        Other bytes come each time, or fewer than there are.
    """
    found: list[tuple[str, list[int] | None]] = []
    for attempt in range(_READ_ATTEMPTS):
        if attempt:
            time.sleep(_READ_PAUSE * attempt)
        info = await_info(objects, path)
        check(info)
        wanted = range(info.shape[0]) if streams is None else streams
        values, checksums = _get_streams(objects, path, info, wanted)
        if checksums == [info.checksums[stream] for stream in wanted]:
            return values, info
        found.append((info.digest, checksums))
    if found[-1] != found[-2]:
        raise StoreAccessError(f"{objects.root}/{path}: cannot read: each reading gives other bytes; try again")
    raise StoreError(
        f"{objects.root}/{path}: the data is missing or not what its checksum says; "
        "run hear-store verify --repair, then extract this song again"
    )


def _get_streams(
    objects: Objects, path: str, info: ArrayInfo, streams: Sequence[int]
) -> tuple[NDArray[np.generic], list[int] | None]:
    """The values, and the checksum of what came of each stream; None where the data is missing or has another size."""
    size = shard_size(info)
    # Whoever wrote the document may claim any size. Below this one, asking takes longer than it saves.
    if size > LARGEST and objects.size(f"{path}/{SHARD}") != size:
        return np.empty(0, info.dtype), None
    values = _empty((len(streams), *info.shape[1:]), info.dtype)
    length = info.stream_bytes + CRC_BYTES
    pieces = [(stream * length, data) for stream, data in zip(streams, _stream_bytes(values), strict=True)]
    return values, objects.read_into(f"{path}/{SHARD}", pieces)


def _empty(shape: tuple[int, ...], dtype: str) -> NDArray[np.generic]:
    """np.empty, a quarter of a page after a page's start.

    AMD's Zen copies from the page cache three times as slowly where the target lies less than 64 bytes after the source
    within a page, which a plain np.empty (16 bytes) and a file of streams with checksums (4 bytes each) would hit.
    """
    size = math.prod(shape) * np.dtype(dtype).itemsize
    try:
        buffer = np.empty(size + 2 * _PAGE, dtype=np.uint8)
    except (MemoryError, ValueError, OverflowError) as error:
        raise StoreError(f"an array of {shape} {dtype} needs {size} bytes of memory, which are not there") from error
    start = _PAGE // 4 - buffer.ctypes.data % _PAGE
    start += _PAGE if start < 0 else 0
    return buffer[start : start + size].view(dtype).reshape(shape)


def _stream_bytes(values: NDArray[np.generic]) -> list[NDArray[np.uint8]]:
    """Each stream as a flat view of bytes."""
    return [stream.reshape(-1).view(np.uint8) for stream in values]
