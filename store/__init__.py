"""The embedding store: stage one writes it, everything else reads it. Uses NumPy and zarr only.

Names are imported when they are first used, so that importing the errors, which every command needs, costs nothing.
"""

import importlib
from typing import TYPE_CHECKING, Any

from store.errors import StoreError

if TYPE_CHECKING:
    from store.catalogue import CatalogueRow, index, is_indexed
    from store.reader import EmbeddingStore, open_store
    from store.receipt import check_receipt, locate_store, write_receipt
    from store.spec import Spec
    from store.summary import cache_summaries
    from store.upkeep.hdf5 import export_hdf5, import_hdf5
    from store.upkeep.info import describe
    from store.upkeep.merging import merge
    from store.upkeep.pruning import prune
    from store.upkeep.verification import Damage, verify
    from store.writer import StoreWriter

_MODULES = {
    "CatalogueRow": "catalogue",
    "Damage": "upkeep.verification",
    "EmbeddingStore": "reader",
    "Spec": "spec",
    "StoreWriter": "writer",
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
    "verify": "upkeep.verification",
    "write_receipt": "receipt",
}

__all__ = [
    "CatalogueRow",
    "Damage",
    "EmbeddingStore",
    "Spec",
    "StoreError",
    "StoreWriter",
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
    "verify",
    "write_receipt",
]

# Hidden from type checkers, so that they report a misspelt name.
if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        if name not in _MODULES:
            raise AttributeError(f"module 'store' has no attribute {name!r}")
        return getattr(importlib.import_module(f"store.{_MODULES[name]}"), name)
