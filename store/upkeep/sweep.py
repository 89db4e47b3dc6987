"""Removing what interrupted writers left: staged files, and shards whose zarr.json never came."""

from store.backends.objects import Objects
from store.format.keys import DEPTH, METADATA, RECORDS, SHARD


def sweep(objects: Objects) -> None:
    """Remove litter; safe while others write.

    A shard without zarr.json may be a record on its way: its writer looks at the shard again after zarr.json, and puts
    it once more if need be.

    Raises
    ------
    StoreError
        The store cannot be listed or changed.
    """
    objects.sweep()
    for path in unfinished(objects):
        objects.delete_unless(f"{path}/{SHARD}", f"{path}/{METADATA}")


def unfinished(objects: Objects) -> list[str]:
    """Paths of records that have something, but no zarr.json."""
    return objects.lacking(RECORDS, depth=DEPTH, name=METADATA)
