"""Taking songs or views out of a store."""

from collections.abc import Callable, Collection
from functools import partial

from store.backends.opening import open_objects
from store.catalogue import index
from store.errors import StoreError
from store.format.arrays import remove_array
from store.format.keys import record_path
from store.progress import Progress
from store.reader import EmbeddingStore


def prune(
    root: str,
    *,
    songs: Collection[str] = (),
    views: Collection[int] = (),
    dry_run: bool = False,
    progress: Progress = iter,
    removed: Callable[[tuple[str, int]], object] = lambda record: None,
) -> list[tuple[str, int]]:
    """Remove the given songs, the given views of all songs, or with both the given views of the given songs.

    Each record goes at once, zarr.json first, and `removed` is told; after an interruption the same call goes on.

    Returns
    -------
    list
        (song, view) of what was removed, or with `dry_run` would be.

    Raises
    ------
    StoreError
        Neither songs nor views are given, a song is not in the store, or the store cannot be changed.
    """
    if not songs and not views:
        raise StoreError("prune needs songs or views to remove")
    store, objects = EmbeddingStore.open(root), open_objects(str(root))
    if absent := sorted(set(songs) - set(store.songs)):
        raise StoreError(f"{store.root}: no song {absent[0]!r}; nothing was removed")
    chosen = [(song, view) for song, view in store if (not songs or song in songs) and (not views or view in views)]
    if dry_run:
        return chosen
    for record in progress(chosen):
        remove_array(objects, record_path(*record), removed=partial(removed, record))
    index(root)
    return chosen
