"""Writing records: any number of writers, anywhere, at any time."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from store.backends.objects import Objects
from store.backends.opening import open_objects
from store.errors import StoreNotFoundError
from store.format.arrays import await_info
from store.format.keys import METADATA, ROOT, record_path
from store.format.metadata import root_document
from store.records import Record, encode_record, put_record
from store.spec import Spec, read_root
from store.sweep import sweep


class StoreWriter:
    """Adds records to a store; made by `open`. Pickling keeps only the place and spec, and opens the store again.

    Examples
    --------
    >>> import numpy as np
    >>> import hear_music as hear
    >>> spec = hear.Spec(streams=("mine",), channels=64, encoders={"mine": "sha256:1"}, layers=(0,))
    >>> writer = hear.StoreWriter.open("mine.zarr", spec)
    >>> writer.write("song", 0, np.zeros((1, 250, 64), np.float32), attributes={"seconds": 10.0})
    True
    """

    def __init__(self, objects: Objects, spec: Spec) -> None:
        self._objects = objects
        self._swept = False
        self.root = objects.root
        self.spec = spec

    @classmethod
    def open(
        cls, root: str | Path, spec: Spec, *, create: bool = True, encoders_from: Mapping[str, Any] | None = None
    ) -> "StoreWriter":
        """Open a store for writing, or create it.

        Parameters
        ----------
        root
            A folder, or an fsspec URL such as `s3://bucket/name.zarr`.
        spec
            Description of the records; an existing store must have the same.
        create
            Whether to create a missing store.
        encoders_from
            The origin of each encoder's weights, as JSON values; kept if the store is created.

        Raises
        ------
        StoreNotFoundError
            There is no store and `create` is false.
        StoreError
            The spec differs (the message names the field), this is not an embedding store, or it cannot be written.
        """
        objects = open_objects(str(root))
        if create and not objects.exists(ROOT):
            objects.create(ROOT, [root_document(spec.to_json(), encoders_from or {})])
        found = read_root(objects).spec
        spec.check(found, objects.root)
        return cls(objects, found)

    def has(self, song: str, view: int) -> bool:
        """Whether the record exists.

        Raises
        ------
        StoreError
            The store cannot be read, or the song id or view is invalid.
        """
        return self._objects.exists(f"{record_path(song, view)}/{METADATA}")

    def digest(self, song: str, view: int) -> str | None:
        """The digest of the record; None if there is no such record.

        Raises
        ------
        StoreError
            The store cannot be read, the record is damaged, or the song id or view is invalid.
        """
        try:
            return await_info(self._objects, record_path(song, view)).digest
        except StoreNotFoundError:
            return None

    def write(self, song: str, view: int, frames: NDArray[np.floating], *, attributes: Mapping[str, Any]) -> bool:
        """Write one record; an existing record is kept unchanged.

        Parameters
        ----------
        song, view
            Any non-empty text; 0 for the clean song, 1, 2, … for augmented views.
        frames
            float32 or float16 (stream, frame, channel); stored in the spec's dtype.
        attributes
            JSON values to keep with the record, such as `seconds` (of audio), `source` (hash of the file), `drawn`.

        Returns
        -------
        bool
            False if the record existed before, or another writer wrote it meanwhile.

        Raises
        ------
        StoreError
            Wrong shape, NaN or infinite values, values too large for float16, an attribute that is not JSON or has a
            reserved name, or a full or unwritable target. Then no record is visible.
        """
        return self.write_record(encode_record(self.spec, song, view, frames, attributes))

    def write_record(self, record: Record, *, digest: str | None = None, replaces: str | None = None) -> bool:
        """Write a record that is already in its storage type; see `write`.

        Parameters
        ----------
        digest
            The digest that the record must have.
        replaces
            Digest of the record to replace. It is replaced only if it is still there when the new one is ready; readers
            see the old record or the new one. Any other record is kept.

        Raises
        ------
        StoreError
            As `write`; or the record does not have the given digest, because it changed in transit.
        """
        if not self._swept:
            sweep(self._objects)
            self._swept = True
        if replaces is None and self.has(record.song_id, record.view):
            return False
        return put_record(self._objects, self.spec, record, digest=digest, replaces=replaces)

    def __reduce__(self) -> Any:
        return partial(StoreWriter.open, create=False), (self.root, self.spec)
