"""Removing songs or views from a store."""

from collections.abc import Callable, Collection
from functools import partial

from store.backends.opening import open_objects
from store.catalogue import write_index
from store.errors import StoreError
from store.format.arrays import remove_array
from store.format.keys import record_path
from store.progress import Progress
from store.reader import EmbeddingStore
from store.spec import read_root


def prune(
    root: str,
    *,
    songs: Collection[str] = (),
    views: Collection[int] = (),
    dry_run: bool = False,
    progress: Progress = iter,
    removed: Callable[[tuple[str, int]], object] = lambda record: None,
) -> list[tuple[str, int]]:
    """Remove the given songs, the given views of all songs, or with both, the given views of the given songs.

    Records are removed one by one, zarr.json first, and `removed` is called for each; after an interruption the same
    call continues.

    Returns
    -------
    list
        (song, view) of each removed record; with `dry_run`, of each record that would be removed.

    Raises
    ------
    StoreError
        Neither songs nor views are given, a song is not in the store, or the store cannot be changed.
    """
    if not songs and not views:
        raise StoreError("prune needs songs or views to remove")
    objects = open_objects(str(root))
    store = EmbeddingStore(objects, read_root(objects))
    if absent := sorted(set(songs) - set(store.songs)):
        raise StoreError(f"{store.root}: no song {absent[0]!r}; nothing was removed")
    chosen = [(song, view) for song, view in store if (not songs or song in songs) and (not views or view in views)]
    if dry_run:
        return chosen
    for record in progress(chosen):
        remove_array(objects, record_path(*record), removed=partial(removed, record))
    write_index(objects, store.spec)
    return chosen
