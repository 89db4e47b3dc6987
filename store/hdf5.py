"""One HDF5 file ↔ a store, a record in memory at a time, without loss.

    /<song id>/<view>    dataset (stream, frame, channel) in the storage type; attributes: `attributes` (JSON),
                         `digest` (the record's), and for int8 `scale` and `offset`, (stream, channel) each
    file attributes      `streams` (names in order), `spec` (JSON), `format`

In song ids `%`, `/`, control characters and lone surrogates are written as `%XX` of their UTF-8, and so are the dots of
an id that is nothing but dots. A file from elsewhere needs `streams` and the datasets alone; its ids are taken as they
are.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes

import numpy as np

from store.catalogue import index
from store.errors import StoreError
from store.metadata import FORMAT
from store.objects import open_objects
from store.progress import Track
from store.quantise import Levels
from store.reader import EmbeddingStore
from store.records import Record, get_record
from store.spec import DTYPES, Spec
from store.writer import StoreWriter

_VIEW = re.compile("0|[1-9][0-9]*")
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

    store, target = EmbeddingStore.open(root), Path(path)
    if target.exists():
        raise StoreError(f"{target}: exists; remove it or name another file")
    partial = target.with_name(f"{target.name}.partial")
    try:
        # Only the newer layout takes attributes of more than 64 KiB, such as the scale of many streams.
        with h5py.File(partial, "w", libver="latest") as file:
            file.attrs["format"] = FORMAT
            file.attrs["streams"] = list(store.streams)
            file.attrs["spec"] = json.dumps(store.spec.to_json())
            for song, view in track(list(store)):
                _export_record(file, store, song, view)
        partial.replace(target)
    except OSError as error:
        raise StoreError(f"{target}: cannot be written: {error}") from error
    finally:
        partial.unlink(missing_ok=True)
    return len(store)


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
            writer = StoreWriter.open(root, _spec_of(file, names, path))
            count = sum(_import_record(file, name, writer, own) for name in track(names))
    except OSError as error:
        raise StoreError(f"{path}: cannot be read as HDF5: {error}") from error
    index(root)
    return count


def _dataset_names(file: Any, path: str | Path) -> Iterator[tuple[str, int]]:
    for song, views in file.items():
        for view, data in _members(views):
            if not _VIEW.fullmatch(view) or getattr(data, "ndim", 0) != 3:
                raise StoreError(
                    f"{path}: /{song}/{view}: expected a dataset /<song id>/<view> of (stream, frame, channel)"
                )
            yield song, int(view)


def _members(views: Any) -> list[tuple[str, Any]]:
    return list(views.items()) if hasattr(views, "items") else [("", views)]


def _spec_of(file: Any, names: list[tuple[str, int]], path: str | Path) -> Spec:
    if "spec" in file.attrs:
        return Spec.from_json(json.loads(file.attrs["spec"]))
    if "streams" not in file.attrs or not names:
        raise StoreError(f"{path}: expected a file attribute `streams` (names in order) and at least one dataset")
    song, view = names[0]
    data = file[f"{song}/{view}"]
    if data.dtype.name not in DTYPES[:2]:
        raise StoreError(f"{path}: /{song}/{view}: expected float16 or float32, found {data.dtype}")
    streams = tuple(name if isinstance(name, str) else name.decode() for name in file.attrs["streams"])
    return Spec(
        streams=streams,
        channels=data.shape[2],
        encoders={},
        layers=(),
        precision="unknown",
        dtype=data.dtype.name,
        origin="import",
    )


def _import_record(file: Any, name: tuple[str, int], writer: StoreWriter, own: bool) -> bool:
    data = file[f"{name[0]}/{name[1]}"]
    attributes = json.loads(data.attrs.get("attributes", "{}"))
    if not own:
        return writer.write(*name, data[()], attributes=attributes)
    levels = Levels(data.attrs["scale"], data.attrs["offset"]) if data.dtype == np.int8 else None
    record = Record(unescape(name[0]), name[1], data[()], levels, attributes)
    return writer.write_record(record, digest=data.attrs["digest"])
