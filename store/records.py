"""A record: one view of one song as stored, and its values as floats."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from store.backends.objects import Objects
from store.errors import StoreError, StoreNotFoundError
from store.files.json_text import brief
from store.format.arrays import Allocate, get_array, new_bytes, put_array
from store.format.keys import METADATA, record_path
from store.format.metadata import ArrayInfo
from store.format.quantisation import Levels, levels_from_text, levels_to_text, to_floats, to_stored
from store.spec import Spec

# Attributes that the store itself writes; a caller's attributes may have any other name.
RESERVED = ("song_id", "view", "frames", "spec", "scale", "offset", "crc32c", "digest")


@dataclass(frozen=True)
class Record:
    """(stream, frame, channel) in the storage type, the levels of int8 codes, and the caller's attributes.

    A record that was read also has the digest of its zarr.json.
    """

    song_id: str
    view: int
    stored: NDArray[np.generic]
    levels: Levels | None
    attributes: Mapping[str, Any]
    digest: str | None = None

    def floats(self) -> NDArray[np.floating]:
        """The values as float16 or float32, (stream, frame, channel)."""
        return to_floats(self.stored, self.levels)


def encode_record(
    spec: Spec, song: str, view: int, frames: NDArray[np.floating], attributes: Mapping[str, Any]
) -> Record:
    """Convert (stream, frame, channel) floats to the spec's storage type.

    Raises
    ------
    StoreError
        Wrong shape or type; NaN, infinite or masked values; values too large for float16; or a reserved attribute.
    """
    frames = np.asanyarray(frames)
    streams = len(spec.streams)
    if frames.ndim != 3 or frames.shape[0] != streams or frames.shape[2] != spec.channels or not frames.shape[1]:
        expected = f"({streams} streams, 1 or more frames, {spec.channels} channels)"
        raise StoreError(f"song {song!r} view {view}: expected frames of {expected}, found {frames.shape}")
    if frames.dtype.name not in ("float16", "float32"):
        raise StoreError(f"song {song!r} view {view}: expected float16 or float32 frames, found {frames.dtype}")
    if taken := [name for name in RESERVED if name in attributes]:
        raise StoreError(f"song {song!r} view {view}: the attribute {taken[0]!r} is reserved; rename it")
    try:
        stored, levels = to_stored(frames, spec.dtype)
    except StoreError as error:
        raise StoreError(f"song {song!r} view {view}: {error}") from error
    return Record(song, view, stored, levels, attributes)


def put_record(
    objects: Objects, spec: Spec, record: Record, *, digest: str | None = None, replaces: str | None = None
) -> bool:
    """Write a record: it exists once its zarr.json exists.

    Returns
    -------
    bool
        False if another writer's record is there instead; see `put_array`.

    Raises
    ------
    StoreError
        The record cannot be written, or does not match the store's spec or the given digest.
    """
    own = {"song_id": record.song_id, "view": int(record.view), "frames": record.stored.shape[1], "spec": spec.digest}
    levels = {} if record.levels is None else levels_to_text(record.levels)
    shape, (streams, channels) = record.stored.shape, (len(spec.streams), spec.channels)
    name = f"song {record.song_id!r} view {record.view}"
    if shape[::2] != (streams, channels) or record.stored.dtype != spec.dtype:
        raise StoreError(
            f"{name}: expected {streams} × {channels} of {spec.dtype}, found {shape} of {record.stored.dtype}"
        )
    path = record_path(record.song_id, record.view)
    try:
        attributes = {**record.attributes, **own, **levels}
        return put_array(objects, path, record.stored, attributes, digest=digest, replaces=replaces)
    except StoreError as error:
        # Keep the class: callers use it to distinguish a failing network from damage.
        raise type(error)(f"{name}: {error}") from error


def get_record(
    objects: Objects,
    spec: Spec,
    song: str,
    view: int,
    streams: Sequence[int] | None = None,
    *,
    allocate: Allocate = new_bytes,
) -> Record:
    """Read a record, or some of its streams, into new memory or into that of `allocate`.

    Raises
    ------
    StoreNotFoundError
        There is no such record.
    StoreError
        The record is damaged, or belongs to another store.
    """
    path = record_path(song, view)
    where = f"{objects.root}/{path}/{METADATA}"
    try:
        stored, info = get_array(
            objects, path, streams, check=lambda info: check_info(info, spec, song, view, where), allocate=allocate
        )
    except StoreNotFoundError as error:
        # The path has only a hash of the song's id.
        raise StoreNotFoundError(f"{error}: song {song!r}, view {view}") from error
    attributes = {name: value for name, value in info.attributes.items() if name not in RESERVED}
    return Record(song, view, stored, levels_of(info, where, streams), attributes, info.digest)


def levels_of(info: ArrayInfo, where: str, streams: Sequence[int] | None = None) -> Levels | None:
    """The levels of the int8 codes of all streams, or some; None for other types.

    Raises
    ------
    StoreError
        The attributes `scale` and `offset` are wrong.
    """
    if info.dtype != "int8":
        return None
    try:
        levels = levels_from_text(info.attributes, (info.shape[0], info.shape[2]))
    except (ValueError, KeyError, TypeError) as error:
        raise StoreError(f"{where}: scale and offset: {brief(error)}; run hear-store verify --repair") from error
    return levels if streams is None else Levels(*(values[list(streams)] for values in levels))


def check_info(info: ArrayInfo, spec: Spec, song: str, view: int, where: str) -> None:
    """Compare a record's zarr.json with the store's spec and with its path.

    Raises
    ------
    StoreError
        The message names the first difference.
    """
    own = info.attributes
    pairs: list[tuple[str, Any, Any]] = [
        ("song id", song, own.get("song_id")),
        ("view", view, own.get("view")),
        ("spec", spec.digest, own.get("spec")),
        ("type", spec.dtype, info.dtype),
        ("streams", len(spec.streams), info.shape[0]),
        ("channels", spec.channels, info.shape[2]),
    ]
    for name, expected, found in pairs:
        # In JSON, true and 1.0 equal 1.
        if expected != found or type(found) not in (str, int):
            raise StoreError(
                f"{where}: {name}: expected {expected!r}, found {brief(found)}; run hear-store verify --repair"
            )
