"""Options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli.pages import option
from pipeline.show.output import note

Manifest = Annotated[Path, option("Input", "manifest.csv, as written by hear-data.")]
Store = Annotated[
    str | None, option("Input", "Store of embeddings: a folder or a URL. Not needed if --receipt is given.")
]
Receipt = Annotated[
    Path | None,
    option("Input", "Receipt of hear-extract: find the store through it, and refuse a store that does not match."),
]
Track = Annotated[int, option("Model", "1: Musicality alone; 2: all five dimensions.", min=1, max=2)]
Checkpoints = Annotated[
    list[str] | None,
    option(
        "Model",
        "A head, a folder of several heads, or a hub id; repeat for a mean with its ± std. If not given, the published "
        "head.",
        "--checkpoint",
    ),
]
AudioInputs = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="INPUT",
        help="Files, folders, patterns, lists (.txt of paths, wav.scp, .jsonl), or - for paths on standard input.",
    ),
]
PublishedTrack = Annotated[
    int | None,
    option(
        "Model",
        "Published head without --checkpoint: 1 (Musicality alone) or 2 (the default).",
        "--track",
        min=1,
        max=2,
    ),
]
Muq = Annotated[str | None, option("Model", "MuQ: hub id or folder; if not given, as recorded in the head.")]
Musicfm = Annotated[str | None, option("Model", "MusicFM: hub id or folder; if not given, as recorded in the head.")]
Window = Annotated[float, option("Scoring", "Length of a window, in seconds.", min=0.1)]
Hop = Annotated[float, option("Scoring", "Seconds from the start of one window to the next.", min=0.04)]
Bootstrap = Annotated[int, option("Evaluation", "Bootstrap samples for the 95 % intervals.", min=10)]
Json = Annotated[bool, option("Output", "Print JSON.", "--json")]


def checkpoints_or_published(checkpoint: list[str] | None, track: int | None) -> list[str]:
    """The given heads, or else the authors' head of a track, which is fetched and named on stderr with its licence.

    Parameters
    ----------
    checkpoint, track
        Values of `Checkpoints` and `PublishedTrack`; without both, the head of Track 2 is taken.

    Raises
    ------
    HubError
        The published head is not in the cache, and the hub cannot be reached.
    """
    from stages.head.share.published import fetch_published

    if checkpoint and track is not None:
        raise typer.BadParameter("--track chooses a published head: leave it out, or leave --checkpoint out")
    if checkpoint:
        return checkpoint
    head = fetch_published(2 if track is None else track)
    note(f"scoring with the published head {head.reference} ({head.licence})")
    return [head.reference]


def find_store(store: str | None, receipt: Path | None) -> str:
    """The given store, or else the receipt's."""
    from store import locate_store

    if store is not None:
        return store
    if receipt is None:
        raise typer.BadParameter("give a store with --store, or its receipt with --receipt")
    return locate_store(receipt)
