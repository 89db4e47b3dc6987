"""One HDF5 file ↔ a store, without loss and with one record in memory at a time.

    /<song id>/<view>    dataset (stream, frame, channel) in the storage type; attributes: `attributes` (JSON),
                         `digest` (the record's), and for int8 `scale` and `offset`, (stream, channel) each
    file attributes      `streams` (names in order), `spec` and `encoders_from` (JSON), `format`, and `digest`, over the
                         other attributes and the list of records

In song ids `%`, `/`, control characters and lone surrogates are written as `%XX` of their UTF-8, and so are the dots of
an id made only of dots. A file from another program needs only `streams` and the datasets. Its ids stay unchanged, and
nested groups are ids with `/` (`/modelA/001/0` is view 0 of `modelA/001`); the file attribute `frame_rate` (frames per
second) is optional.
"""

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from io import FileIO
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes

import numpy as np
from numpy.typing import NDArray

from store.backends.objects import Objects
from store.backends.opening import open_objects
from store.catalogue import write_index
from store.errors import StoreError
from store.files.json_text import parse_json
from store.files.replacing import replacing, write_errors
from store.format.keys import DEPTH, METADATA, RECORDS, ROOT
from store.format.metadata import FORMAT
from store.format.quantisation import Levels
from store.progress import Progress
from store.reader import EmbeddingStore
from store.records import Record, encode_record, get_record
from store.spec import DTYPES, Spec, read_root
from store.upkeep.hdf5_file import display_path
from store.upkeep.hdf5_process import read_in_subprocess
from store.writer import StoreWriter

_UNSAFE = re.compile(r"[%/\x00-\x1f\x7f\ud800-\udfff]|^\.+$")


def escape(song: str) -> str:
    """Encode a song id as one HDF5 name."""
    return _UNSAFE.sub(
        lambda match: "".join(f"%{byte:02X}" for byte in match[0].encode("utf-8", "surrogatepass")), song
    )


def unescape(name: str) -> str:
    """Undo `escape`."""
    return unquote_to_bytes(name).decode("utf-8", "surrogatepass")


def export_hdf5(root: str, path: str | Path, *, progress: Progress = iter) -> int:
    """Write a store to one HDF5 file, which appears when it is complete; return the number of records.

    Raises
    ------
    StoreError
        The file exists or cannot be written, or a record is damaged.
    """
    import h5py

    objects = open_objects(str(root))
    store = EmbeddingStore(objects, read_root(objects))
    with _new_file(Path(path)) as partial, _ErrorKeepingFile(partial, "w+") as raw:
        # Only the newer layout allows attributes of more than 64 KiB, such as the scale of many streams.
        with h5py.File(raw, "w", libver="latest") as file:
            about = {
                "format": FORMAT,
                "streams": list(store.streams),
                "spec": json.dumps(store.spec.to_json()),
                "encoders_from": json.dumps(store.encoders_from),
            }
            names = [(escape(song), view) for song, view in store]
            file.attrs.update({**about, "digest": _seal({**about, "names": names})})
            for song, view in progress(list(store)):
                _export_record(file, get_record(objects, store.spec, song, view))
                raw.check()
        raw.check()
    return len(store)


def _seal(about: Mapping[str, Any]) -> str:
    """Digest of all parts without digests of their own: the file's attributes and the list of records."""
    parts = [about.get(key) for key in ("streams", "spec", "encoders_from")]
    names = sorted([song, view] for song, view in about["names"])
    return hashlib.sha256(json.dumps([*parts, names]).encode()).hexdigest()


@contextmanager
def _new_file(target: Path) -> Iterator[Path]:
    """As `replacing`, for a file that must not exist."""
    with write_errors(target, StoreError):
        if target.exists():
            raise StoreError(f"{target}: exists; remove it or name another file")
        next(target.parent.iterdir(), None)  # an error if this is not a folder, which `replacing` would make
        with replacing(target) as partial:
            yield partial


class _ErrorKeepingFile(FileIO):
    """A file whose errors are raised by `check`: an error inside HDF5's own calls may crash the process."""

    _failure: BaseException | None = None

    def write(self, data: Any) -> int:
        return self._call(self._write_all, data, size=len(data))

    def readinto(self, buffer: Any) -> int:
        return self._call(super().readinto, buffer, size=len(buffer))

    def truncate(self, size: int | None = None) -> int:
        return self._call(super().truncate, size, size=size or 0)

    def _write_all(self, data: Any) -> int:
        rest = memoryview(data)
        while rest:
            rest = rest[super().write(rest) :]
        return len(data)

    def _call(self, call: Callable[[Any], int | None], argument: Any, *, size: int) -> int:
        """Make the call and return its result; after a failure, return `size`, as if the call had succeeded."""
        if self._failure is None:
            try:
                return call(argument) or 0
            except BaseException as error:  # also Ctrl-C
                self._failure = error
        return size

    def check(self) -> None:
        if self._failure is not None:
            raise self._failure


def _export_record(file: Any, record: Record) -> None:
    data = file.create_dataset(f"{escape(record.song_id)}/{record.view}", data=record.stored)
    data.attrs["attributes"] = json.dumps(record.attributes)
    data.attrs["digest"] = record.digest
    if record.levels is not None:
        data.attrs.update(record.levels._asdict())


def import_hdf5(path: str | Path, root: str, *, progress: Progress = iter) -> int:
    """Write an HDF5 file's records to a store, new or with the same spec; return the number of new records.

    For a file without a spec, the new store's spec has the `origin` `import`. Links out of the file are not followed:
    see `hdf5_file`.

    Raises
    ------
    StoreError
        The file cannot be read or has another layout, or the store's spec differs or it cannot be written.
    """
    with closing(read_in_subprocess(path)) as messages:
        about, _ = next(messages)
        spec, encoders_from = _spec_of(about, path), _encoders_from(about, path)
        own = _is_own(about, path)
        objects = open_objects(str(root))
        with _no_empty_store(objects) as written:
            writer = StoreWriter.open(root, spec, encoders_from=encoders_from)
            for _, message in zip(progress(about["names"]), messages, strict=True):
                written.append(_import_record(*message, writer, own, path))
    write_index(objects, spec)
    return sum(written)


@contextmanager
def _no_empty_store(objects: Objects) -> Iterator[list[bool]]:
    """Remove a new store if no record could be written: it would refuse the spec of another file."""
    new, written = not objects.exists(ROOT), list[bool]()
    try:
        yield written
    except BaseException:
        if new and not any(True for _ in objects.find_named(RECORDS, depth=DEPTH, name=METADATA)):
            objects.delete(ROOT)
        raise


def _is_own(about: Mapping[str, Any], path: str | Path) -> bool:
    """Whether `export_hdf5` wrote the file. Older versions wrote no digest."""
    found = about.get("format")
    if found not in (None, FORMAT):
        raise StoreError(f"{path}: attribute `format`: expected {FORMAT!r} or none, found {found[:80]!r}")
    if found and "digest" in about and about["digest"] != _seal(about):
        raise StoreError(f"{path}: does not match its digest: names or file attributes have changed; export it again")
    return found is not None


def _spec_of(about: Mapping[str, Any], path: str | Path) -> Spec:
    if "spec" in about:
        where = f"{path}: attribute `spec`"
        with _as_exported(where):
            values = _object(about["spec"])
            try:
                return Spec.from_json(values)
            except StoreError as error:
                raise StoreError(f"{where}: {error}") from error
    names = about["names"]
    if "streams" not in about or not names:
        raise StoreError(f"{path}: expected a file attribute `streams` (names in order) and at least one dataset")
    if about["dtype"] not in DTYPES[:2]:
        raise StoreError(f"{path}: {display_path(*names[0])}: expected float16 or float32, found {about['dtype']}")
    return Spec(
        streams=tuple(about["streams"]),
        channels=about["channels"],
        encoders={},
        layers=(),
        precision="unknown",
        # By default, the encoders' 25.
        frame_rate=about.get("frame_rate", 25.0),
        dtype=about["dtype"],
        origin="import",
    )


def _encoders_from(about: Mapping[str, Any], path: str | Path) -> dict[str, Any]:
    """Encoder → origin of its weights; empty if the file has no such attribute."""
    with _as_exported(f"{path}: attribute `encoders_from`"):
        return _object(about.get("encoders_from", "{}"))


def _object(text: str) -> dict[str, Any]:
    found = parse_json(text)
    if not isinstance(found, dict):
        raise ValueError(f"expected a JSON object, found {type(found).__name__}")
    return found


def _import_record(
    about: Mapping[str, Any], arrays: list[Any], writer: StoreWriter, own: bool, path: str | Path
) -> bool:
    name, view = about["name"]
    where = f"{path}: {display_path(name, view)}"
    with _as_exported(where):
        attributes = _attributes(about, where, own)
        if own:
            song = unescape(name)
            if escape(song) != name:
                raise ValueError(f"expected the name {escape(song)!r} for the id {song!r}, found {name!r}")
            record, digest = Record(song, view, arrays[0], _levels(*arrays), attributes), about["digest"]
        else:
            record, digest = encode_record(writer.spec, name, view, arrays[0], attributes), None
        return writer.write_record(record, digest=digest)


def _levels(values: NDArray[Any], *levels: NDArray[Any]) -> Levels | None:
    if values.dtype != np.int8:
        return None
    if len(levels) != len(Levels._fields):
        raise ValueError("the attribute `scale` or `offset` is missing")
    return Levels(*levels)


def _attributes(about: Mapping[str, Any], where: str, own: bool) -> dict[str, Any]:
    try:
        attributes = _object(about.get("attributes", "{}"))
    except ValueError as error:
        raise StoreError(f"{where}: attribute `attributes`: {error}; write it as {{…}}") from error
    seconds = attributes.get("seconds")
    given = seconds is not None and not own
    if given and (isinstance(seconds, bool) or not isinstance(seconds, int | float) or seconds < 0):
        raise StoreError(f"{where}: attribute `attributes`: `seconds` must be a number of at least 0; correct it")
    return attributes


@contextmanager
def _as_exported(where: str) -> Iterator[None]:
    """Report a missing or invalid attribute: every export has valid ones, so the file has changed since."""
    try:
        yield
    except (KeyError, ValueError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise StoreError(
            f"{where}: not in the form that hear-store export writes ({error}); export it again"
        ) from error
