"""Writing records: any number of writers, anywhere, at any time."""

from collections.abc import Mapping
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
from store.spec import Spec, read_spec
from store.upkeep.sweep import sweep


class StoreWriter:
    """Adds records to a store; made by `open`. Pickles as its place and spec.

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
        """Open a store for writing, or make it.

        Parameters
        ----------
        root
            A folder, or an fsspec URL such as `s3://bucket/name.zarr`.
        spec
            What the records will hold; an existing store must have the same.
        create
            Whether to make the store where there is none.
        encoders_from
            Where each encoder's weights came from, as JSON values; a store that is made keeps it.

        Raises
        ------
        StoreNotFoundError
            There is no store and `create` is false.
        StoreError
            The store has another spec (the message names the field), is none of ours, or cannot be written.
        """
        objects = open_objects(str(root))
        if create and not objects.exists(ROOT):
            objects.create(ROOT, [root_document(spec.to_json(), encoders_from or {})])
        found = read_spec(objects)
        spec.check(found, objects.root)
        return cls(objects, found)

    def has(self, song: str, view: int) -> bool:
        """Tell whether the record exists.

        Raises
        ------
        StoreError
            The store cannot be read, or no record can be called so.
        """
        return self._objects.exists(f"{record_path(song, view)}/{METADATA}")

    def digest(self, song: str, view: int) -> str | None:
        """The digest of the record that stands there; None where there is none.

        Raises
        ------
        StoreError
            The store cannot be read, the record is damaged, or no record can be called so.
        """
        try:
            return await_info(self._objects, record_path(song, view)).digest
        except StoreNotFoundError:
            return None

    def write(self, song: str, view: int, frames: NDArray[np.floating], *, attributes: Mapping[str, Any]) -> bool:
        """Write one record; one that exists already is kept as it is.

        Parameters
        ----------
        song, view
            Any non-empty text; 0 for the clean song, 1, 2, … for augmented ones.
        frames
            float32 or float16 (stream, frame, channel); stored as the spec's dtype says.
        attributes
            JSON values to keep with it, such as `seconds` (of audio), `source` (hash of the file) and `drawn`.

        Returns
        -------
        bool
            False where the record was there before, or another writer has made it meanwhile.

        Raises
        ------
        StoreError
            Wrong shape, NaN or infinite values, too large for float16, an attribute that is not JSON or whose name
            is the store's own, or a target that is full or cannot be written. Nothing is visible then.
        """
        return self.write_record(encode_record(self.spec, song, view, frames, attributes))

    def write_record(self, record: Record, *, digest: str | None = None, replaces: str | None = None) -> bool:
        """Write a record that is in its storage type already; see `write`.

        Parameters
        ----------
        digest
            What the record's digest must be.
        replaces
            Digest of the record that this one replaces, if that still stands there when this one is ready; a reader
            beside it sees the old record or the new one. Where another stands there, it is kept.

        Raises
        ------
        StoreError
            As `write`; or the record's digest is not the one given: it has changed on its way here.
        """
        if not self._swept:
            sweep(self._objects)
            self._swept = True
        if replaces is None and self.has(record.song_id, record.view):
            return False
        return put_record(self._objects, self.spec, record, digest=digest, replaces=replaces)

    def __reduce__(self) -> Any:
        return _reopen, (self.root, self.spec)


def _reopen(root: str, spec: Spec) -> StoreWriter:
    return StoreWriter.open(root, spec, create=False)
