"""What the commands of `hear-head` learn from or are measured by: a store and a manifest."""

from pathlib import Path
from typing import Annotated

import typer

Store = Annotated[
    str | None,
    typer.Option(help="The store of embeddings, a folder or a URL.", show_default="the one that the receipt tells"),
]
ReceiptPath = Annotated[Path | None, typer.Option(help="Refuse a store that is not this receipt's.")]
ManifestPath = Annotated[Path, typer.Option(help="manifest.csv, as hear-data writes it.")]
Track = Annotated[int, typer.Option(help="1 scores Musicality, 2 all five dimensions.", min=1, max=2)]


def named_store(store: str | None, receipt: Path | None) -> str:
    """The store that is named, or else the receipt's."""
    from store import locate_store

    if store is not None:
        return store
    if receipt is None:
        raise typer.BadParameter("name a store with --store, or its receipt with --receipt")
    return locate_store(receipt)
