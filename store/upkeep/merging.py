"""Merging several stores into one."""

from collections.abc import Sequence
from dataclasses import dataclass

from store.backends.objects import Objects
from store.backends.opening import open_objects
from store.catalogue import read_rows, write_index
from store.errors import StoreError
from store.format.arrays import get_info
from store.format.keys import record_path
from store.format.quantisation import Levels
from store.progress import Progress
from store.reader import EmbeddingStore
from store.records import get_record
from store.spec import read_root
from store.writer import StoreWriter


@dataclass(frozen=True)
class MergeReport:
    """Number of records that were copied, and of records that were in the target already or occurred twice."""

    copied: int
    kept: int


def merge(sources: Sequence[str], target: str, *, progress: Progress = iter) -> MergeReport:
    """Copy every record of the sources into the target, which is created if needed; all must have the same spec.

    Records are checked when they are read, and written as by any writer: after an interruption the same call continues.

    Raises
    ------
    StoreError
        The specs of two sources differ, or two sources have different data for a record: then nothing is copied. Or a
        record is damaged.
    """
    if not sources:
        raise StoreError("merge needs at least one source")
    objects = [open_objects(str(source)) for source in sources]
    stores = [EmbeddingStore(one, read_root(one)) for one in objects]
    for store in stores[1:]:
        stores[0].spec.check(store.spec, store.root)
    # Equal specs have equal weights, so one store's origins hold for all.
    encoders_from = next((store.encoders_from for store in stores if store.encoders_from), {})
    writer = StoreWriter.open(target, stores[0].spec, encoders_from=encoders_from)
    into = open_objects(str(target))
    present = read_rows(into, writer.spec)
    known = dict.fromkeys(present, into)
    for one, store in zip(objects, stores, strict=True):
        for record in store:
            _check_agreement(record, known.setdefault(record, one), one)
    missing = [(record, one) for record, one in known.items() if record not in present]
    copied = 0
    for (song, view), one in progress(missing):
        copied += writer.write_record(get_record(one, writer.spec, song, view))
    write_index(into, writer.spec)
    return MergeReport(copied, sum(map(len, stores)) - copied)


def _check_agreement(record: tuple[str, int], first: Objects, second: Objects) -> None:
    """Refuse two stores with different data for a record; its other attributes may differ."""
    if first.root == second.root:
        return
    infos = [get_info(one, record_path(*record)) for one in (first, second)]
    ours, theirs = ([info.shape, info.checksums, *map(info.attributes.get, Levels._fields)] for info in infos)
    if ours != theirs:
        song, view = record
        raise StoreError(
            f"song {song!r} view {view} differs between {first.root} and {second.root}; "
            "prune it from one of them, then merge"
        )
