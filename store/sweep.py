"""Removing the remains of interrupted writes: staged files, and shards without zarr.json."""

from store.backends.objects import Objects
from store.format.keys import DEPTH, METADATA, RECORDS, SHARD


def sweep(objects: Objects) -> None:
    """Remove litter; safe while others write.

    A shard without zarr.json may belong to a record that is being written: its writer checks the shard again after
    zarr.json, and writes it again if needed.

    Raises
    ------
    StoreError
        The store cannot be listed or changed.
    """
    objects.sweep()
    for path in objects.folders_without(RECORDS, depth=DEPTH, name=METADATA):
        objects.delete_unless(f"{path}/{SHARD}", f"{path}/{METADATA}")
