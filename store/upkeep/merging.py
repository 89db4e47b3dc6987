"""Bringing the records of several stores into one."""

from collections.abc import Sequence
from dataclasses import dataclass

from store.backends.objects import Objects
from store.backends.opening import open_objects
from store.catalogue import index
from store.errors import StoreError
from store.format.arrays import get_info
from store.format.keys import record_path
from store.format.quantisation import Levels
from store.progress import Progress
from store.reader import EmbeddingStore
from store.records import get_record
from store.writer import StoreWriter


@dataclass(frozen=True)
class MergeReport:
    """Records that were copied, and records that the target had already."""

    copied: int
    kept: int


def merge(sources: Sequence[str], target: str, *, progress: Progress = iter) -> MergeReport:
    """Copy every record of the sources into the target, which is made if need be; all must have one spec.

    Records are checked as they are read, and written as by any writer: after an interruption the same call goes on.

    Raises
    ------
    StoreError
        A source has another spec, is damaged, or holds other data for a record than another one; in these cases but
        damage nothing is copied.
    """
    if not sources:
        raise StoreError("merge needs at least one source")
    stores = [EmbeddingStore.open(source) for source in sources]
    for store in stores[1:]:
        stores[0].spec.check(store.spec, store.root)
    # Equal specs have equal weights, so whoever knows where they came from knows it for all.
    encoders_from = next((store.encoders_from for store in stores if store.encoders_from), {})
    writer = StoreWriter.open(target, stores[0].spec, encoders_from=encoders_from)
    known = dict.fromkeys(EmbeddingStore.open(target), writer.root)
    present = set(known)
    for store in stores:
        for record in store:
            _check_agreement(record, known.setdefault(record, store.root), store.root)
    origins = [(record, root) for record, root in known.items() if record not in present]
    opened = {store.root: (open_objects(store.root), store.spec) for store in stores}
    copied = 0
    for (song, view), root in progress(origins):
        copied += writer.write_record(get_record(*opened[root], song, view))
    index(target)
    return MergeReport(copied, sum(map(len, stores)) - copied)


def _check_agreement(record: tuple[str, int], first: str, second: str) -> None:
    """Refuse two stores with different data for a record; what was noted about its making may differ."""
    if first == second:
        return
    path = record_path(*record)
    objects: list[Objects] = [open_objects(root) for root in (first, second)]
    infos = [get_info(one, path) for one in objects]
    ours, theirs = ([info.shape, info.checksums, *map(info.attributes.get, Levels._fields)] for info in infos)
    if ours != theirs:
        song, view = record
        raise StoreError(
            f"song {song!r} view {view} differs between {first} and {second}; prune it from one of them, then merge"
        )
