"""`hear-store distance`: distances between the songs of two stores, or between groups of one."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli.options import Json
from pipeline.cli.pages import option
from pipeline.cli.store_commands.neighbours import Store, Streams
from pipeline.show.bars import progress
from pipeline.show.output import say_json, say_text

if TYPE_CHECKING:
    from stages.similarity.distance import DistanceReport


def distance(
    store: Store,
    other: Annotated[str | None, typer.Argument(metavar="OTHER", help="Another store, unless --by is given.")] = None,
    manifest: Annotated[Path | None, option("Input", "manifest.csv with the column of --by.")] = None,
    by: Annotated[
        str, option("Input", "Compare groups of STORE: a column of the manifest, such as system or split.")
    ] = "",
    streams: Streams = None,
    as_json: Json = False,
) -> None:
    """Measure how far two sets of songs are apart: KAD with its 95 % interval, and FAD, for each stream.

    STORE is the reference, from which KAD takes its scale. Reads the whole store; `hear-store index --summaries` makes
    it quick.

    Example:
      hear-store distance real.zarr generated.zarr
    """
    if (other is None) == (not by) or bool(by) != (manifest is not None):
        raise typer.BadParameter("give a second store, or --by with --manifest")
    report = _distances(store, other, manifest, by, streams)
    say_json(report.to_json(), indent=2) if as_json else say_text(report.to_text())


def _distances(
    store: str, other: str | None, manifest: Path | None, by: str, streams: list[str] | None
) -> "DistanceReport":
    from stages.similarity.distance import group_distances, store_distances
    from stages.songs import read_manifest
    from store import EmbeddingStore

    opened = EmbeddingStore.open(store)
    if other is not None:
        return store_distances(opened, EmbeddingStore.open(other), streams=streams, progress=progress("read"))
    assert manifest is not None
    listed = read_manifest(manifest, check_files=False)
    groups = {song.song_id: song.split for song in listed.songs} if by == "split" else listed.column(by)
    return group_distances(opened, groups, streams=streams, progress=progress("read"))
