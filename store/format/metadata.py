"""The zarr.json documents, byte by byte.

A document is sealed, so that a changed byte is noticed: its attribute `digest` is the SHA-256 of the rest, and each
document has only one valid text.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from store.backends.objects import Objects
from store.errors import StoreAccessError, StoreError
from store.files.json_text import LARGEST, JsonError, brief, parse_json
from store.format.keys import largest_catalogue

FORMAT = "hear-embeddings"
VERSION = 1
AXES = ("stream", "frame", "channel")
_LITTLE = {"name": "bytes", "configuration": {"endian": "little"}}
# A single byte has no byte order, and zarr does not allow one here.
_BYTES = {"float16": _LITTLE, "float32": _LITTLE, "int8": {"name": "bytes"}}
_CRC = {"name": "crc32c"}
# An array has fewer streams, frames and channels than this.
LONGEST = 1 << 31


def sealed(document: Mapping[str, Any]) -> bytes:
    """Add the digest and encode the document.

    Raises
    ------
    StoreError
        An attribute is not JSON.
    """
    plain = _without_digest(document)
    digest = hashlib.sha256(_text(plain)).hexdigest()
    return _text({**plain, "attributes": {**plain["attributes"], "digest": digest}})


def unsealed(
    data: bytes, where: str, remedy: str = "run hear-store verify --repair", *, largest: int = LARGEST
) -> dict[str, Any]:
    """Read a sealed document of at most `largest` bytes.

    The digest only shows that no byte has changed: the writer may have sealed any values, even numbers of any size.

    Raises
    ------
    StoreError
        It is not JSON, or does not match its digest.
    """
    try:
        document: dict[str, Any] = parse_json(data, largest=largest, bounded=False)
        good = sealed(document) == data
    except (JsonError, TypeError, KeyError, AttributeError) as error:
        raise StoreError(f"{where}: not a document of this store ({error}); {remedy}") from error
    if not good:
        raise StoreError(f"{where}: its digest does not match, bytes have changed; {remedy}")
    return document


def read_derived(objects: Objects, key: str, *, records: int = 0) -> dict[str, Any] | None:
    """Read a sealed catalogue document for this number of records; None if it is missing or damaged.

    Raises
    ------
    StoreAccessError
        It cannot be read.
    """
    largest = largest_catalogue(records)
    try:
        data = objects.get(key, largest=largest)
        return None if data is None else unsealed(data, key, largest=largest)
    except StoreAccessError:
        raise
    except StoreError:
        return None


def _without_digest(document: Mapping[str, Any]) -> dict[str, Any]:
    attributes = {key: value for key, value in document["attributes"].items() if key != "digest"}
    return {**document, "attributes": attributes}


def _text(document: Mapping[str, Any]) -> bytes:
    try:
        # On one line: indenting is ten times as slow, and every reading of a record encodes this again to compare.
        text = _ENCODER.encode(document)
    except (TypeError, ValueError, RecursionError) as error:
        raise StoreError(f"attributes must be JSON values: {error}") from error
    return text.encode()


def _scalar(value: Any) -> Any:
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    raise TypeError(f"found {value!r}, a {type(value).__name__}")


# Made once: making an encoder takes a tenth of the time of encoding a record's document.
_ENCODER = json.JSONEncoder(sort_keys=True, allow_nan=False, default=_scalar)


def root_document(spec: Mapping[str, Any], encoders_from: Mapping[str, Any]) -> bytes:
    """Encode the root group's document, with the origins of the encoders' weights if they are known."""
    about = {"encoders_from": dict(encoders_from)} if encoders_from else {}
    attributes = {"format": FORMAT, "version": VERSION, "spec": spec, **about}
    return sealed({"zarr_format": 3, "node_type": "group", "attributes": attributes})


def root_attributes(data: bytes, where: str) -> dict[str, Any]:
    """Read the attributes of the root group: `spec` and, if known, `encoders_from`.

    Raises
    ------
    StoreError
        It is not an embedding store, a newer version wrote it, or it has changed.
    """
    try:
        attributes = parse_json(data)["attributes"]
        name, version = attributes["format"], attributes["version"]
    except (JsonError, TypeError, KeyError):
        name = version = None
    if name != FORMAT:
        raise StoreError(f"{where}: not an embedding store (format {brief(name)}, expected {FORMAT!r})")
    if version != VERSION or type(version) is not int:
        raise StoreError(
            f"{where}: expected format version {VERSION}, found {brief(version)}; install a newer hear-music"
        )
    found: dict[str, Any] = unsealed(data, where, "take zarr.json from a store with the same spec")["attributes"]
    return found


@dataclass(frozen=True)
class ArrayInfo:
    """An array's zarr.json: shape (stream, frame, channel), type, the streams' CRC-32C, attributes."""

    shape: tuple[int, int, int]
    dtype: str
    checksums: tuple[int, ...]
    attributes: dict[str, Any]

    @property
    def digest(self) -> str:
        """Digest of the whole document, which includes the data's checksums."""
        return str(self.attributes["digest"])

    @property
    def stream_bytes(self) -> int:
        """Size of one stream's values."""
        return int(np.dtype(self.dtype).itemsize) * self.shape[1] * self.shape[2]

    def document(self) -> bytes:
        """Encode zarr.json: a sharded array with one inner chunk per stream, uncompressed, with checksums."""
        attributes = {**self.attributes, "crc32c": [f"{value:08x}" for value in self.checksums]}
        inner = {
            "chunk_shape": [1, *self.shape[1:]],
            "codecs": [_BYTES[self.dtype], _CRC],
            "index_codecs": [_LITTLE, _CRC],
            "index_location": "end",
        }
        return sealed(
            {
                "zarr_format": 3,
                "node_type": "array",
                "shape": list(self.shape),
                "data_type": self.dtype,
                "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": list(self.shape)}},
                "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
                "codecs": [{"name": "sharding_indexed", "configuration": inner}],
                "fill_value": 0 if self.dtype == "int8" else 0.0,
                "dimension_names": list(AXES),
                "attributes": attributes,
            }
        )


def read_array_info(data: bytes, where: str) -> ArrayInfo:
    """Read an array's zarr.json.

    Raises
    ------
    StoreError
        It is damaged, or does not describe an array of this format.
    """
    try:
        document = parse_json(data)
        streams, frames, channels = _lengths(document["shape"])
        checksums = tuple(int(text, 16) for text in document["attributes"]["crc32c"])
        info = ArrayInfo((streams, frames, channels), document["data_type"], checksums, document["attributes"])
        # Encoded again, with its digest, it must give the same bytes.
        good = info.document() == data and len(checksums) == streams
    except (ValueError, TypeError, KeyError, AttributeError, StoreError) as error:
        reason = str(error) if isinstance(error, JsonError) else brief(error)
        raise StoreError(
            f"{where}: not an array of format {VERSION} ({reason}); run hear-store verify --repair"
        ) from error
    if not good:
        raise StoreError(f"{where}: its digest does not match, bytes have changed; run hear-store verify --repair")
    return info


def _lengths(shape: Any) -> Any:
    """The shape; ValueError if it has an invalid length."""
    if not isinstance(shape, list) or not all(type(length) is int and 0 < length < LONGEST for length in shape):
        raise ValueError(f"shape {brief(shape)}")
    return shape
