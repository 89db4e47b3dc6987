"""A record as a read-only `zarr.Array`, the object that other tools of the Zarr ecosystem take."""

from typing import TYPE_CHECKING, Any

from store.backends.objects import Objects
from store.errors import StoreAccessError, StoreError
from store.format.arrays import await_info, stored_checksums
from store.format.keys import METADATA, record_path
from store.records import check_info
from store.spec import Spec

if TYPE_CHECKING:
    import zarr
    from zarr.abc.store import Store


def open_array(objects: Objects, spec: Spec, song: str, view: int) -> "zarr.Array[Any]":
    """Open a record through zarr's own store; see `EmbeddingStore.array`."""
    import zarr
    from zarr.storage import FsspecStore, LocalStore

    path = record_path(song, view)
    info = await_info(objects, path)
    check_info(info, spec, song, view, f"{objects.root}/{path}/{METADATA}")
    # zarr reads a missing shard as zeros.
    if stored_checksums(objects, path, info) != info.checksums:
        raise StoreError(
            f"{objects.root}/{path}: the data is missing or belongs to another record; "
            "run hear-store verify --repair, then extract this song again"
        )
    store: Store
    try:
        if "://" in objects.root:
            # A cached listing would hide other writers' new objects.
            options = {"use_listings_cache": False}
            store = FsspecStore.from_url(objects.root, storage_options=options, read_only=True)
        else:
            store = LocalStore(objects.root, read_only=True)
        return zarr.open_array(store, path=path, mode="r", zarr_format=3)
    except Exception as error:  # errors of any class: file systems define their own
        raise StoreAccessError(
            f"{objects.root}/{path}: zarr cannot open it: {error or type(error).__name__}"
        ) from error
