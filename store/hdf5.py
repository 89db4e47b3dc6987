"""One HDF5 file ↔ a store, a record in memory at a time, without loss.

    /<song id>/<view>    dataset (stream, frame, channel) in the storage type; attributes: `attributes` (JSON),
                         `digest` (the record's), and for int8 `scale` and `offset`, (stream, channel) each
    file attributes      `streams` (names in order), `spec` and `encoders_from` (JSON), `format`

In song ids `%`, `/`, control characters and lone surrogates are written as `%XX` of their UTF-8, and so are the dots of
an id that is nothing but dots. A file from elsewhere needs `streams` and the datasets alone. Its ids are taken as they
are, and groups in groups are ids with `/` (`/modelA/001/0` is view 0 of `modelA/001`); the file attribute `frame_rate`
(frames a second) is read where it is there.
"""

import json
import math
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import FileIO
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes

import numpy as np

from store.catalogue import index
from store.errors import StoreError
from store.keys import DEPTH, METADATA, RECORDS, ROOT
from store.metadata import FORMAT
from store.objects import open_objects
from store.progress import Track
from store.quantise import Levels, to_native
from store.reader import EmbeddingStore
from store.records import Record, encode_record, get_record
from store.spec import DTYPES, Spec
from store.writer import StoreWriter

_VIEW = re.compile("0|[1-9][0-9]*")
# Groups in groups that an id may have: a loop of links has no end.
_DEEPEST = 32
_UNSAFE = re.compile(r"[%/\x00-\x1f\x7f\ud800-\udfff]|^\.+$")


def escape(song: str) -> str:
    """Write a song id so that HDF5 takes it as one name."""
    return _UNSAFE.sub(
        lambda match: "".join(f"%{byte:02X}" for byte in match[0].encode("utf-8", "surrogatepass")), song
    )


def unescape(name: str) -> str:
    """Undo `escape`."""
    return unquote_to_bytes(name).decode("utf-8", "surrogatepass")


def export_hdf5(root: str, path: str | Path, *, track: Track = iter) -> int:
    """Write a store to one HDF5 file, which appears when it is whole; return the number of records.

    Raises
    ------
    StoreError
        The file exists or cannot be written, or a record is damaged.
    """
    import h5py

    store = EmbeddingStore.open(root)
    with _appearing(Path(path)) as partial, _Patient(partial, "w+") as raw:
        # Only the newer layout takes attributes of more than 64 KiB, such as the scale of many streams.
        with h5py.File(raw, "w", libver="latest") as file:
            file.attrs["format"] = FORMAT
            file.attrs["streams"] = list(store.streams)
            file.attrs["spec"] = json.dumps(store.spec.to_json())
            file.attrs["encoders_from"] = json.dumps(store.encoders_from)
            for song, view in track(list(store)):
                _export_record(file, store, song, view)
                raw.check()
        raw.check()
    return len(store)


@contextmanager
def _appearing(target: Path) -> Iterator[Path]:
    """A place beside a new file, which takes that file's name once all is written, and is removed if that fails."""
    partial = target.with_name(f"{target.name}.partial")
    try:
        if target.exists():
            raise StoreError(f"{target}: exists; remove it or name another file")
        try:
            yield partial
            partial.replace(target)
        finally:
            with suppress(OSError):
                partial.unlink(missing_ok=True)
    except OSError as error:
        raise StoreError(f"{target}: cannot be written: {error.strerror or error}") from error


class _Patient(FileIO):
    """A file whose failed writes are told by `check`: HDF5 that meets one while closing may crash the process."""

    _failure: BaseException | None = None

    def write(self, data: Any) -> int:
        rest = memoryview(data)
        try:
            while rest and self._failure is None:
                rest = rest[super().write(rest) :]
        except BaseException as error:  # also Ctrl-C
            self._failure = error
        return len(data)

    def check(self) -> None:
        if self._failure is not None:
            raise self._failure


def _export_record(file: Any, store: EmbeddingStore, song: str, view: int) -> None:
    record = get_record(open_objects(store.root), store.spec, song, view)
    data = file.create_dataset(f"{escape(song)}/{view}", data=record.stored)
    data.attrs["attributes"] = json.dumps(record.attributes)
    data.attrs["digest"] = store.attributes(song, view)["digest"]
    if record.levels is not None:
        data.attrs.update(record.levels._asdict())


def import_hdf5(path: str | Path, root: str, *, track: Track = iter) -> int:
    """Write an HDF5 file's records to a store, new or with the same spec; return how many were not there before.

    A file without a spec makes one whose `origin` is `import`.

    Raises
    ------
    StoreError
        The file cannot be read or is laid out otherwise, or the store has another spec or cannot be written.
    """
    import h5py

    try:
        with h5py.File(path, "r") as file:
            names = list(_dataset_names(file, path))
            own = file.attrs.get("format") == FORMAT
            spec, encoders_from = _spec_of(file, names, path), _encoders_from(file, path)
            with _no_empty_store(root) as written:
                writer = StoreWriter.open(root, spec, encoders_from=encoders_from)
                written += [_import_record(file, name, writer, own) for name in track(names)]
    except OSError as error:
        raise StoreError(f"{path}: cannot be read as HDF5: {_reason(error)}") from error
    index(root)
    return sum(written)


@contextmanager
def _no_empty_store(root: str) -> Iterator[list[bool]]:
    """Remove a store that was made for records of which none could be written: it would refuse another file's spec."""
    objects = open_objects(str(root))
    new, written = not objects.exists(ROOT), list[bool]()
    try:
        yield written
    except BaseException:
        if new and not any(True for _ in objects.named(RECORDS, depth=DEPTH, name=METADATA)):
            objects.delete(ROOT)
        raise


def _reason(error: Exception) -> str:
    """The system's words, where HDF5's own message, of half a page, holds them."""
    found = re.search(r"error message = '([^']*)'", str(error))
    return found[1] if found else str(error)


def _dataset_names(group: Any, path: str | Path, *parents: str) -> Iterator[tuple[str, int]]:
    """Song id and view of each dataset in a group and all below it."""
    song = "/".join(parents)
    for name, data in group.items():
        if hasattr(data, "items") and len(parents) < _DEEPEST:
            yield from _dataset_names(data, path, *parents, name)
        elif song and _VIEW.fullmatch(name) and getattr(data, "ndim", 0) == 3:
            yield song, int(name)
        else:
            where = "/".join(("", *parents, name))
            raise StoreError(f"{path}: {where}: expected a dataset /<song id>/<view> of (stream, frame, channel)")


def _spec_of(file: Any, names: list[tuple[str, int]], path: str | Path) -> Spec:
    if "spec" in file.attrs:
        with _as_exported(f"{path}: attribute `spec`"):
            return Spec.from_json(json.loads(file.attrs["spec"]))
    if "streams" not in file.attrs or not names:
        raise StoreError(f"{path}: expected a file attribute `streams` (names in order) and at least one dataset")
    song, view = names[0]
    data = file[f"{song}/{view}"]
    if data.dtype.name not in DTYPES[:2]:
        raise StoreError(f"{path}: /{song}/{view}: expected float16 or float32, found {data.dtype}")
    listed = np.atleast_1d(file.attrs["streams"])
    streams = tuple(name.decode() if isinstance(name, bytes) else str(name) for name in listed)
    return Spec(
        streams=streams,
        channels=data.shape[2],
        encoders={},
        layers=(),
        precision="unknown",
        frame_rate=_frame_rate(file, path),
        dtype=data.dtype.name,
        origin="import",
    )


def _frame_rate(file: Any, path: str | Path) -> float:
    """Frames a second: the file's attribute, or the encoders' 25."""
    found = file.attrs.get("frame_rate", 25.0)
    try:
        rate = float(np.asarray(found).item())
    except (TypeError, ValueError):
        rate = math.nan
    if not 0 < rate < math.inf:
        raise StoreError(f"{path}: attribute `frame_rate`: expected frames a second, a number above 0, found {found!r}")
    return rate


def _encoders_from(file: Any, path: str | Path) -> dict[str, Any]:
    """Where the encoders' weights came from; empty where the file does not say."""
    with _as_exported(f"{path}: attribute `encoders_from`"):
        found = json.loads(file.attrs.get("encoders_from", "{}"))
        if not isinstance(found, dict):
            raise ValueError(f"expected a JSON object, found {type(found).__name__}")
    return found


def _import_record(file: Any, name: tuple[str, int], writer: StoreWriter, own: bool) -> bool:
    song, view = name
    data = file[f"{song}/{view}"]
    where = f"{file.filename}: /{song}/{view}"
    with _as_exported(where):
        attributes = _attributes(data, where)
        if own:
            levels = _levels(data) if data.dtype == np.int8 else None
            stored = to_native(data[()])
            record, digest = Record(unescape(song), view, stored, levels, attributes), str(data.attrs["digest"])
        else:
            record, digest = encode_record(writer.spec, song, view, data[()], attributes), None
    return writer.write_record(record, digest=digest)


def _levels(data: Any) -> Levels:
    return Levels(*(np.asarray(data.attrs[name], np.float32) for name in ("scale", "offset")))


def _attributes(data: Any, where: str) -> dict[str, Any]:
    attributes = json.loads(data.attrs.get("attributes", "{}"))
    if not isinstance(attributes, dict):
        found = type(attributes).__name__
        raise StoreError(f"{where}: attribute `attributes`: expected a JSON object, found {found}; write it as {{…}}")
    return attributes


@contextmanager
def _as_exported(where: str) -> Iterator[None]:
    """What lacks an attribute that an export has, or has another there, was changed since."""
    try:
        yield
    except (KeyError, ValueError, TypeError) as error:
        raise StoreError(f"{where}: not as hear-store export writes it ({error}); export it again") from error
