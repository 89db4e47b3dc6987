"""The receipt: a store's spec, counts and one digest over all records, small enough for DVC to track."""

import json
import os
from pathlib import Path
from typing import Any

from store.errors import StoreError
from store.files.json_text import LARGEST, brief, parse_json
from store.files.regular import IrregularFileError, read_regular
from store.files.replacing import replacing
from store.format.metadata import FORMAT, VERSION
from store.reader import EmbeddingStore
from store.spec import Spec

# Characters of a path or URL: no system has longer ones.
_LONGEST_PATH = 4096


def write_receipt(store: EmbeddingStore, path: str | Path) -> None:
    """Write the store's receipt and location as JSON; the file appears when it is complete. `path` may be a device.

    Raises
    ------
    StoreError
        A record is damaged, or the file cannot be written.
    """
    location = str(store.root) if "://" in str(store.root) else str(Path(store.root).absolute())
    text = json.dumps({**store.receipt(), "location": location}, indent=2, sort_keys=True) + "\n"
    # The shards of an extraction may end at the same moment.
    with replacing(Path(path), error=StoreError, shared=True) as place:
        place.write_text(text, encoding="utf-8")


def read_receipt(path: str | Path) -> dict[str, Any]:
    """Read a receipt.

    Raises
    ------
    StoreError
        The file cannot be read, or is not a receipt of this format.
    """
    try:
        receipt: Any = parse_json(read_regular(path, largest=LARGEST))
    except (OSError, ValueError, IrregularFileError) as error:
        raise StoreError(f"{path}: the receipt cannot be read: {error}; run hear-extract with --receipt") from error
    if not isinstance(receipt, dict) or (receipt.get("format"), receipt.get("version")) != (FORMAT, VERSION):
        raise StoreError(f"{path}: not a receipt of {FORMAT} version {VERSION}; run hear-extract with --receipt")
    return receipt


def locate_store(path: str | Path) -> str:
    """Locate the store of a receipt: beside the receipt if it is there, else at the location in the receipt.

    So the store is found from another workspace, and after both were moved together.

    Raises
    ------
    StoreError
        The receipt cannot be read, or has no location.
    """
    location = read_receipt(path).get("location")
    if not isinstance(location, str) or len(location) > _LONGEST_PATH:
        raise StoreError(f"{path}: does not say where its store is; name the store, or run hear-extract with --receipt")
    beside = Path(path).absolute().parent / Path(location).name
    is_beside = os.path.isdir(beside)  # noqa: PTH112 - Path.is_dir raises for names that are too long
    return str(beside) if "://" not in location and is_beside else location


def check_receipt(path: str | Path, store: EmbeddingStore) -> None:
    """Compare a store with its receipt.

    Raises
    ------
    StoreError
        The store differs from the receipt; the message names the difference, expected and found.
    """
    receipt = read_receipt(path)
    try:
        spec = Spec.from_json(receipt.get("spec"))
    except StoreError as error:
        raise StoreError(f"{path}: {error}") from error
    spec.check(store.spec, f"{path}: {store.root}")
    found = store.receipt()
    for name in ("songs", "records", "digest"):
        if receipt.get(name) != found[name]:
            raise StoreError(
                f"{path}: {store.root}: {name}: expected {brief(receipt.get(name))}, found {found[name]!r}; "
                "the store has changed since: run hear-extract again"
            )
