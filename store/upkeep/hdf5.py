"""One HDF5 file ↔ a store, a record in memory at a time, without loss.

    /<song id>/<view>    dataset (stream, frame, channel) in the storage type; attributes: `attributes` (JSON),
                         `digest` (the record's), and for int8 `scale` and `offset`, (stream, channel) each
    file attributes      `streams` (names in order), `spec` and `encoders_from` (JSON), `format`, and `digest`, of the
                         other attributes and of which records there are

In song ids `%`, `/`, control characters and lone surrogates are written as `%XX` of their UTF-8, and so are the dots of
an id that is nothing but dots. A file from elsewhere needs `streams` and the datasets alone. Its ids are taken as they
are, and groups in groups are ids with `/` (`/modelA/001/0` is view 0 of `modelA/001`); the file attribute `frame_rate`
(frames per second) is read where it is there.
"""

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from io import FileIO
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes

import numpy as np
from numpy.typing import NDArray

from store.backends.opening import open_objects
from store.catalogue import index
from store.errors import StoreError
from store.files.json_text import parse_json
from store.format.keys import DEPTH, METADATA, RECORDS, ROOT
from store.format.metadata import FORMAT
from store.format.quantisation import Levels
from store.progress import Progress
from store.reader import EmbeddingStore
from store.records import Record, encode_record, get_record
from store.spec import DTYPES, Spec
from store.upkeep.hdf5_file import shown
from store.upkeep.hdf5_process import read_apart
from store.writer import StoreWriter

_UNSAFE = re.compile(r"[%/\x00-\x1f\x7f\ud800-\udfff]|^\.+$")


def escape(song: str) -> str:
    """Write a song id so that HDF5 takes it as one name."""
    return _UNSAFE.sub(
        lambda match: "".join(f"%{byte:02X}" for byte in match[0].encode("utf-8", "surrogatepass")), song
    )


def unescape(name: str) -> str:
    """Undo `escape`."""
    return unquote_to_bytes(name).decode("utf-8", "surrogatepass")


def export_hdf5(root: str, path: str | Path, *, progress: Progress = iter) -> int:
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
            about = {
                "format": FORMAT,
                "streams": list(store.streams),
                "spec": json.dumps(store.spec.to_json()),
                "encoders_from": json.dumps(store.encoders_from),
            }
            names = [(escape(song), view) for song, view in store]
            file.attrs.update({**about, "digest": _seal({**about, "names": names})})
            for song, view in progress(list(store)):
                _export_record(file, store, song, view)
                raw.check()
        raw.check()
    return len(store)


def _seal(about: Mapping[str, Any]) -> str:
    """Digest of what no record's own digest covers: the file's attributes, and which records it has."""
    parts = [about.get(key) for key in ("streams", "spec", "encoders_from")]
    names = sorted([song, view] for song, view in about["names"])
    return hashlib.sha256(json.dumps([*parts, names]).encode()).hexdigest()


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
    """A file whose failed calls are told by `check`: HDF5 that meets one while closing may crash the process."""

    _failure: BaseException | None = None

    def write(self, data: Any) -> int:
        return self._done(self._write_all, data, size=len(data))

    def readinto(self, buffer: Any) -> int:
        return self._done(super().readinto, buffer, size=len(buffer))

    def truncate(self, size: int | None = None) -> int:
        return self._done(super().truncate, size, size=size or 0)

    def _write_all(self, data: Any) -> int:
        rest = memoryview(data)
        while rest:
            rest = rest[super().write(rest) :]
        return len(data)

    def _done(self, call: Callable[[Any], int | None], argument: Any, *, size: int) -> int:
        """Make the call, unless one has failed already; then `size` is what HDF5 hears."""
        if self._failure is None:
            try:
                return call(argument) or 0
            except BaseException as error:  # also Ctrl-C
                self._failure = error
        return size

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


def import_hdf5(path: str | Path, root: str, *, progress: Progress = iter) -> int:
    """Write an HDF5 file's records to a store, new or with the same spec; return how many were not there before.

    A file without a spec makes one whose `origin` is `import`. Nothing outside the file is followed: see `hdf5_file`.

    Raises
    ------
    StoreError
        The file cannot be read or is laid out otherwise, or the store has another spec or cannot be written.
    """
    with closing(read_apart(path)) as messages:
        about, _ = next(messages)
        spec, encoders_from = _spec_of(about, path), _encoders_from(about, path)
        own = _is_own(about, path)
        with _no_empty_store(root) as written:
            writer = StoreWriter.open(root, spec, encoders_from=encoders_from)
            for _, message in zip(progress(about["names"]), messages, strict=True):
                written.append(_import_record(*message, writer, own, path))
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


def _is_own(about: Mapping[str, Any], path: str | Path) -> bool:
    """Whether `export_hdf5` wrote the file; older versions wrote no digest."""
    found = about.get("format")
    if found not in (None, FORMAT):
        raise StoreError(f"{path}: attribute `format`: expected {FORMAT!r} or none, found {found[:80]!r}")
    if found and "digest" in about and about["digest"] != _seal(about):
        raise StoreError(f"{path}: not what its digest says: names or file attributes have changed; export it again")
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
        raise StoreError(f"{path}: {shown(*names[0])}: expected float16 or float32, found {about['dtype']}")
    return Spec(
        streams=tuple(about["streams"]),
        channels=about["channels"],
        encoders={},
        layers=(),
        precision="unknown",
        # The encoders' 25, where the file does not say.
        frame_rate=about.get("frame_rate", 25.0),
        dtype=about["dtype"],
        origin="import",
    )


def _encoders_from(about: Mapping[str, Any], path: str | Path) -> dict[str, Any]:
    """Where the encoders' weights came from; empty where the file does not say."""
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
    where = f"{path}: {shown(name, view)}"
    with _as_exported(where):
        attributes = _attributes(about, where, own)
        if own:
            song = unescape(name)
            if escape(song) != name:
                raise ValueError(f"the name {name!r} is not how the id {song!r} is written")
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
    known = seconds is not None and not own
    if known and (isinstance(seconds, bool) or not isinstance(seconds, int | float) or seconds < 0):
        raise StoreError(f"{where}: attribute `attributes`: `seconds` must be a number from 0 on; correct it")
    return attributes


@contextmanager
def _as_exported(where: str) -> Iterator[None]:
    """What lacks an attribute that an export has, or has another there, was changed since."""
    try:
        yield
    except (KeyError, ValueError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise StoreError(f"{where}: not as hear-store export writes it ({error}); export it again") from error
