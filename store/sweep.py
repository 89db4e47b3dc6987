"""Removing what interrupted writers left: staged files, and shards whose zarr.json never came."""

from store.keys import DEPTH, METADATA, RECORDS, SHARD
from store.objects import Objects


def sweep(objects: Objects) -> None:
    """Remove litter; safe while others write.

    A shard without zarr.json may be a record on its way. Its writer looks at the shard again after zarr.json and puts
    it once more if need be; and here, if zarr.json has come meanwhile, the shard goes back, unless there is a new one.

    Raises
    ------
    StoreError
        The store cannot be listed or changed.
    """
    objects.sweep()
    for path in unfinished(objects):
        _sweep_shard(objects, path)


def unfinished(objects: Objects) -> list[str]:
    """Paths of records that have something, but no zarr.json."""
    return objects.lacking(RECORDS, depth=DEPTH, name=METADATA)


def _sweep_shard(objects: Objects, path: str) -> None:
    shard, metadata = f"{path}/{SHARD}", f"{path}/{METADATA}"
    if objects.exists(metadata):
        return
    data = objects.take(shard)
    if data is not None and objects.exists(metadata):
        objects.create(shard, [data])
