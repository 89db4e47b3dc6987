"""The embedding store: what stage one writes and everybody else reads. numpy and zarr only.

Names are imported when they are first used, so that the errors below, which every command needs, cost nothing.
"""

import importlib
from typing import TYPE_CHECKING, Any

from store.errors import HearError, StoreError, StoreNotFoundError

if TYPE_CHECKING:
    from store.catalogue import CatalogueRow, index, is_indexed
    from store.format.metadata import AXES
    from store.reader import EmbeddingStore, open_store
    from store.receipt import check_receipt, locate_store, read_receipt, write_receipt
    from store.spec import Spec
    from store.summary import Summary, cache_summaries
    from store.upkeep.hdf5 import export_hdf5, import_hdf5
    from store.upkeep.info import describe
    from store.upkeep.merging import merge
    from store.upkeep.pruning import prune
    from store.upkeep.verification import Damage, verify
    from store.writer import StoreWriter

_HOMES = {
    "AXES": "format.metadata",
    "EmbeddingStore": "reader",
    "Damage": "upkeep.verification",
    "CatalogueRow": "catalogue",
    "Spec": "spec",
    "StoreWriter": "writer",
    "Summary": "summary",
    "cache_summaries": "summary",
    "check_receipt": "receipt",
    "describe": "upkeep.info",
    "export_hdf5": "upkeep.hdf5",
    "import_hdf5": "upkeep.hdf5",
    "index": "catalogue",
    "is_indexed": "catalogue",
    "locate_store": "receipt",
    "merge": "upkeep.merging",
    "open_store": "reader",
    "prune": "upkeep.pruning",
    "read_receipt": "receipt",
    "verify": "upkeep.verification",
    "write_receipt": "receipt",
}

__all__ = [
    "AXES",
    "CatalogueRow",
    "Damage",
    "EmbeddingStore",
    "HearError",
    "Spec",
    "StoreError",
    "StoreNotFoundError",
    "StoreWriter",
    "Summary",
    "cache_summaries",
    "check_receipt",
    "describe",
    "export_hdf5",
    "import_hdf5",
    "index",
    "is_indexed",
    "locate_store",
    "merge",
    "open_store",
    "prune",
    "read_receipt",
    "verify",
    "write_receipt",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'store' has no attribute {name!r}")
    return getattr(importlib.import_module(f"store.{_HOMES[name]}"), name)
