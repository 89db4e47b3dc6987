"""Reading untrusted or damaged HDF5 files, without following links out of the file.

Only plain datasets under hard links are read: contiguous, compact or chunked, with HDF5's own filters, and with all
their values in this file. Any other object is an error that names it. All of this is checked before a value is read.
"""

import math
import re
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from store.errors import StoreError
from store.files.json_text import LARGEST
from store.files.visible import visible
from store.format.quantisation import Levels, to_native
from store.spec import DTYPES

# Facts about the file or one record, as JSON values, and its arrays.
Message = tuple[dict[str, Any], list[NDArray[Any]]]

TEXTS = ("format", "spec", "encoders_from", "digest")
# Levels of nested groups in a song id.
_DEEPEST = 32
_MOST_OBJECTS = 1_000_000
# All datasets together may have this many bytes, or this many times the file's bytes on disk: embeddings hardly
# compress, while a few kB of compressed zeros can expand to terabytes.
_SMALL, _EXPANSION = 256 << 20, 50
_MOST_STREAMS = 100_000
_VIEW = re.compile("0|[1-9][0-9]{0,8}")
_FILTERS = (1, 2, 3, 4, 5, 6, 32_000)  # deflate, shuffle, fletcher32, szip, nbit, scaleoffset, lzf
_DAMAGED = "the file is damaged or not written by the HDF5 library; get it again"


class _Size(NamedTuple):
    """A file's size, and its bytes on disk: fewer if the file has holes."""

    total: int
    on_disk: int


def read_hdf5(path: str, *, heartbeat: Callable[[], object] = lambda: None) -> Iterator[Message]:
    """Read a file: first its own attributes, then each record.

    Parameters
    ----------
    path
        A file on this machine.
    heartbeat
        Called before each object: HDF5 may take long for a large file, but loop for ever in a damaged one.

    Yields
    ------
    first
        `names` of the datasets as (song id as in the file, view); if present, the texts `TEXTS`, the list `streams` and
        `frame_rate` (frames per second); `dtype` and `channels` of the first dataset; `largest`, the size of the
        largest one in bytes.
    then
        For each dataset its `name`; if present, the texts `attributes` and `digest`; one array (stream, frame,
        channel), and for int8 also `scale` and `offset`, float32 (stream, channel).

    Raises
    ------
    StoreError
        The file cannot be read, or has anything but plain datasets; the message names the object.
    """
    import h5py

    heartbeat()
    size = _size(path)
    with _explain_errors(path, ""), h5py.File(path, "r", driver="sec2") as file:
        walk = _Walk(path, size, heartbeat)
        names = list(walk.datasets(file.id, ()))
        about = _about(file, path)
        if names:
            first = _open(file, names[0])
            about |= {"dtype": first.dtype.name, "channels": first.shape[2]}
        yield {**about, "names": names, "largest": walk.largest}, []
        for name in names:
            heartbeat()
            with _explain_errors(path, display_path(*name)):
                yield _record(_open(file, name), name, f"{path}: {display_path(*name)}")


def _size(path: str) -> _Size:
    """The file's size; anything but a regular file, such as a pipe, is refused before it is opened."""
    try:
        status = Path(path).stat()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        fetch = "; download a remote file first" if re.match(r"\w+:/", path) else ""
        raise StoreError(f"{path}: cannot be read as HDF5: {reason}{fetch}") from error
    if not stat.S_ISREG(status.st_mode):
        found = "a folder" if stat.S_ISDIR(status.st_mode) else "a device or a pipe"
        raise StoreError(f"{path}: cannot be read as HDF5: expected a file, found {found}")
    return _Size(status.st_size, min(status.st_size, status.st_blocks * 512))


@contextmanager
def _explain_errors(path: str, name: str) -> Iterator[None]:
    """Name the object that could not be read: on damaged files HDF5 raises errors of any class."""
    try:
        yield
    except StoreError:
        raise
    except MemoryError as error:
        raise StoreError(f"{path}: {name or 'it'} needs more memory than is available; {_DAMAGED}") from error
    except Exception as error:
        where = f"{path}: {name}: cannot be read" if name else f"{path}: cannot be read as HDF5"
        # HDF5's own message, half a page long, may contain the system's error message.
        system = re.search(r"error message = '([^']*)'", str(error))
        reason = system[1] if system else f"{_printable(str(error))}; {_DAMAGED}"
        raise StoreError(f"{where}: {reason}") from error


def display_path(*name: object) -> str:
    """An object's path in one printable line."""
    return _printable("/".join(("", *map(str, name))))


def _printable(text: str) -> str:
    """One line of at most 200 printable characters."""
    text = visible(text[:201])
    return text if len(text) <= 200 else f"{text[:199]}…"


class _Walk:
    """Visits all groups once and checks each object, without reading a value."""

    def __init__(self, path: str, size: _Size, heartbeat: Callable[[], object]) -> None:
        self._path, self._size, self._heartbeat = path, size, heartbeat
        self._limit = max(_SMALL, _EXPANSION * size.on_disk)
        self._groups: set[int] = set()
        self._objects = self._bytes = 0
        self.largest = 0

    def datasets(self, group: Any, parents: tuple[str, ...]) -> Iterator[tuple[str, int]]:
        """Song id and view of each dataset in a group and its subgroups."""
        import h5py

        address = h5py.h5o.get_info(group).addr
        if address in self._groups:
            self._refuse(parents, "a group that is linked twice, as in a loop of links; give it one name")
        self._groups.add(address)
        for raw in group:
            self._heartbeat()
            name = raw.decode("utf-8", "surrogateescape")
            place = (*parents, name)
            with _explain_errors(self._path, display_path(*place)):
                found = self._open(group, raw, place)
            if isinstance(found, h5py.h5g.GroupID) and len(place) <= _DEEPEST:
                yield from self.datasets(found, place)
            elif parents and isinstance(found, h5py.h5d.DatasetID) and _VIEW.fullmatch(name) and found.rank == 3:
                with _explain_errors(self._path, display_path(*place)):
                    self._check(found, place)
                yield "/".join(parents), int(name)
            else:
                self._refuse(place, "expected a dataset /<song id>/<view> of (stream, frame, channel)")

    def _refuse(self, place: tuple[str, ...], why: str) -> None:
        raise StoreError(f"{self._path}: {display_path(*place)}: {why}")

    def _open(self, group: Any, raw: bytes, place: tuple[str, ...]) -> Any:
        """Open the target of a hard link; refuse any other link."""
        import h5py

        self._objects += 1
        if self._objects > _MOST_OBJECTS:
            self._refuse(place, f"more than {_MOST_OBJECTS} groups and datasets; split the file")
        if raw in (b"", b".") or b"/" in raw:
            self._refuse(place, "a name that cannot be part of a path; rename it")
        kind = group.links.get_info(raw).type
        if kind != h5py.h5l.TYPE_HARD:
            kinds = {h5py.h5l.TYPE_SOFT: "a soft link", h5py.h5l.TYPE_EXTERNAL: "a link to another file"}
            found = kinds.get(kind, "a user-defined link")
            self._refuse(place, f"{found}, which import does not follow; copy the data itself here (h5repack, h5copy)")
        return h5py.h5o.open(group, raw)

    def _check(self, dataset: Any, place: tuple[str, ...]) -> None:
        """Refuse a dataset that is not wholly in this file, or whose size is out of proportion to the file's."""
        import h5py

        if dataset.dtype.name not in DTYPES:
            self._refuse(place, f"expected float16 or float32, found {_printable(str(dataset.dtype))}")
        plan = dataset.get_create_plist()
        layout = plan.get_layout()
        if layout == h5py.h5d.VIRTUAL:
            self._refuse(place, "a virtual dataset, whose values are in other datasets; copy them here (h5repack)")
        if plan.get_external_count():
            self._refuse(place, "its values are in another file; copy them here (h5repack)")
        chunked = layout == h5py.h5d.CHUNKED
        itemsize, blocks = dataset.get_type().get_size(), plan.get_chunk() if chunked else dataset.shape
        if 0 in dataset.shape:
            self._refuse(place, f"expected at least one stream, frame and channel, found {dataset.shape}")
        counts = [-(-length // block) for length, block in zip(dataset.shape, blocks, strict=True)]
        size = math.prod(counts) * math.prod(blocks) * itemsize
        self._bytes += size
        self.largest = max(self.largest, size)
        if self._bytes > self._limit:
            sizes = f"{self._bytes} bytes, too many for {self._size.on_disk} bytes on disk"
            self._refuse(place, f"the datasets up to this one have {sizes}; split the file")
        if not (self._has_chunks(dataset, plan, counts, place) if chunked else self._has_values(dataset, size)):
            self._refuse(
                place, "has values that were never written (fill values) or lie beyond the end of the file; write them"
            )

    def _has_values(self, dataset: Any, size: int) -> bool:
        """Whether a contiguous or compact dataset has all its bytes within the file."""
        stored, offset = dataset.get_storage_size(), dataset.get_offset()
        return bool(stored == size > 0) and (offset is None or offset + size <= self._size.total)

    def _has_chunks(self, dataset: Any, plan: Any, counts: list[int], place: tuple[str, ...]) -> bool:
        """Whether a dataset has all its chunks within the file."""
        for number in range(plan.get_nfilters()):
            code, *_, name = plan.get_filter(number)
            if code not in _FILTERS:
                found = f"{code} ({_printable(name.decode('utf-8', 'replace'))})"
                self._refuse(
                    place, f"compressed with filter {found}, which is not built into HDF5; use gzip (h5repack)"
                )
        block, found_at = plan.get_chunk(), set[tuple[int, ...]]()

        def check_chunk(chunk: Any) -> None:
            starts = zip(chunk.chunk_offset, block, counts, strict=True)
            inside = all(start % length == 0 and start // length < count for start, length, count in starts)
            if inside and chunk.byte_offset is not None and chunk.byte_offset + chunk.size <= self._size.total:
                found_at.add(chunk.chunk_offset)

        dataset.chunk_iter(check_chunk)
        return 0 < len(found_at) == math.prod(counts)


def _open(file: Any, name: tuple[str, int]) -> Any:
    import h5py

    return h5py.Dataset(h5py.h5o.open(file.id, f"{name[0]}/{name[1]}".encode("utf-8", "surrogateescape")))


def _record(data: Any, name: tuple[str, int], where: str) -> Message:
    texts = {key: _text(data, key, where) for key in ("attributes", "digest")}
    values = [to_native(data[()])]
    if data.dtype.name == "int8":
        shape = (data.shape[0], data.shape[2])
        values += [levels for key in Levels._fields if (levels := _levels(data, key, shape, where)) is not None]
    return {"name": name, **_known(texts)}, values


def _about(file: Any, path: str) -> dict[str, Any]:
    texts = {key: _text(file, key, path) for key in TEXTS}
    return _known({**texts, "streams": _streams(file, path), "frame_rate": _frame_rate(file, path)})


def _known(values: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}


def _attribute(holder: Any, name: str, *kinds: str) -> Any:
    """An attribute's low-level object, None if it is missing; ValueError if its type is not one of `kinds`.

    Its size is checked before it is read.
    """
    import h5py

    if not h5py.h5a.exists(holder.id, name.encode()):
        return None
    attribute = h5py.h5a.open(holder.id, name.encode())
    kind = attribute.get_type().get_class()
    if kind not in [getattr(h5py.h5t, each) for each in kinds] or attribute.shape is None:
        raise ValueError(f"found another type ({_printable(str(attribute.dtype))}) or no value")
    if attribute.get_storage_size() > LARGEST:
        raise ValueError(f"found {attribute.get_storage_size()} bytes, expected at most {LARGEST}")
    return attribute


@contextmanager
def _of_kind(where: str, name: str, expected: str) -> Iterator[None]:
    try:
        yield
    except (TypeError, ValueError, OverflowError) as error:
        raise StoreError(f"{where}: attribute `{name}`: expected {expected}, {_printable(str(error))}") from error


def _text(holder: Any, name: str, where: str) -> str | None:
    with _of_kind(where, name, "a text"):
        attribute = _attribute(holder, name, "STRING")
        if attribute is None:
            return None
        if math.prod(attribute.shape) != 1:
            raise ValueError(f"found {math.prod(attribute.shape)} of them")
        return _decoded(np.ravel(holder.attrs[name])[0])


def _decoded(value: Any) -> str:
    raw = bytes(value) if isinstance(value, bytes) else str(value).encode("utf-8", "surrogateescape")
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise ValueError("found invalid UTF-8") from None


def _streams(file: Any, path: str) -> list[str] | None:
    with _of_kind(path, "streams", "names"):
        attribute = _attribute(file, "streams", "STRING")
        if attribute is None:
            return None
        if math.prod(attribute.shape) > _MOST_STREAMS:
            raise ValueError(f"found {math.prod(attribute.shape)}, more than {_MOST_STREAMS}")
        return [_decoded(name) for name in np.ravel(file.attrs["streams"])]


def _frame_rate(file: Any, path: str) -> float | None:
    with _of_kind(path, "frame_rate", "frames per second, a number above 0"):
        attribute = _attribute(file, "frame_rate", "FLOAT", "INTEGER")
        if attribute is None:
            return None
        rate = float(np.asarray(file.attrs["frame_rate"]).item())
        if not 0 < rate < math.inf:
            raise ValueError(f"found {rate}")
        return rate


def _levels(data: Any, name: str, shape: tuple[int, int], where: str) -> NDArray[np.float32] | None:
    with _of_kind(where, name, f"numbers of shape {shape}"):
        attribute = _attribute(data, name, "FLOAT")
        if attribute is None:
            return None
        if attribute.shape != shape:
            raise ValueError(f"found {attribute.shape}")
        return np.asarray(data.attrs[name], np.float32)
