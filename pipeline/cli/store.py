"""`hear-store`: inspect, check, compare, convert, merge and prune stores."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli.common import new_app
from pipeline.cli.options import Json
from pipeline.cli.pages import option
from pipeline.cli.store_commands.distance import distance
from pipeline.cli.store_commands.neighbours import neighbours
from pipeline.show.bars import progress
from pipeline.show.output import say, say_json, say_text
from store.files.visible import to_json

if TYPE_CHECKING:
    from stages.extract.freshness import SourceCheck
    from store.upkeep.verification import Damage, Verification

app = new_app("store", "Inspect, check and compare stores of embeddings, convert to and from HDF5, merge and prune.")
Store = Annotated[str, typer.Argument(metavar="STORE", help="A folder, or a URL such as s3://bucket/name.zarr.")]


@app.command()
def info(
    store: Store,
    manifest: Annotated[Path | None, option("Input", "manifest.csv: also count each of its splits.")] = None,
    as_json: Json = False,
) -> None:
    """Print the spec, and songs, records, hours and bytes by split and view.

    Example:
      hear-store info songs.zarr --manifest manifest.csv
    """
    from pipeline.show.tables import describe_text
    from stages.songs import read_manifest
    from store import EmbeddingStore, describe

    songs = read_manifest(manifest, check_files=False).songs if manifest else None
    splits = None if songs is None else {song.song_id: song.split for song in songs}
    figures = describe(EmbeddingStore.open(store), splits=splits)
    if as_json:
        say_json(figures, indent=2)
    else:
        say_text(describe_text(figures))


Repair = Annotated[bool, option("Run", "Remove damaged records, so that hear-extract makes them again.", "--repair")]
StoreReceipt = Annotated[Path | None, option("Input", "Receipt of hear-extract: also check that the store matches it.")]
SongManifest = Annotated[Path | None, option("Input", "manifest.csv: also find records whose song files have changed.")]


@app.command()
def verify(store: Store, repair: Repair = False, receipt: StoreReceipt = None, manifest: SongManifest = None) -> None:
    """Read and check every byte: checksums, shapes, finite values, spec, missing and foreign files.

    With --manifest, also hash the songs' files and check that each record was made from its song's current file. Prints
    one line per problem, then one line of counts. The exit code is 1 if a problem is left.

    Example:
      hear-store verify songs.zarr --repair
    """
    from stages.extract.freshness import SourceCheck
    from stages.songs import read_manifest
    from store import EmbeddingStore, check_receipt

    sources = SourceCheck(read_manifest(manifest, check_files=False).songs if manifest else ())
    found = _verify(store, sources, repair=repair)
    left = [problem for problem in found.problems if not problem.removed]
    for problem in left:
        _say_damage(problem)
    for song, reason in sources.missing.items():
        say(f"no source: {song}: {reason}")
    say(f"{found.records} records good, {len(found.problems)} problems, {len(found.problems) - len(left)} removed")
    if manifest:
        say(f"{len(sources.compared)} records compared with their songs' files, {len(sources.missing)} files missing")
    if left:
        raise typer.Exit(1)
    if receipt is not None:
        check_receipt(receipt, EmbeddingStore.open(store))


def _verify(store: str, sources: "SourceCheck", *, repair: bool) -> "Verification":
    """Verify a store, and print each removed record at once: the rest may fail or be interrupted."""
    from store import verify as verify_store

    removed: list[Damage] = []

    def on_removal(problem: "Damage") -> None:
        removed.append(problem)
        _say_damage(problem)

    try:
        return verify_store(store, repair=repair, outdated=sources, progress=progress("verify"), removed=on_removal)
    except BaseException:  # also Ctrl-C
        if repair:
            say(f"ended early: {len(removed)} removed, all listed above; run it again")
        raise


def _say_damage(problem: "Damage") -> None:
    say(f"{problem.kind}: {problem.path}: {problem.detail}{' (removed)' if problem.removed else ''}")


@app.command()
def export(store: Store, file: Annotated[Path, typer.Argument(metavar="FILE.h5", help="Must not exist.")]) -> None:
    """Write all records to one HDF5 file.

    Example:
      hear-store export songs.zarr songs.h5
    """
    from store import export_hdf5

    say(f"{export_hdf5(store, file, progress=progress('export'))} records exported to {file}")


@app.command("import")
def import_(file: Annotated[Path, typer.Argument(metavar="FILE.h5", help="The file to read.")], store: Store) -> None:
    """Write the records of an HDF5 file to a store, which is new or has the same spec.

    If the file was not written by hear-store export, also print how the embeddings were interpreted.

    Example:
      hear-store import songs.h5 songs.zarr
    """
    from store import EmbeddingStore, import_hdf5

    say(f"{import_hdf5(file, store, progress=progress('import'))} records imported to {store}")
    spec = EmbeddingStore.open(store).spec
    if spec.origin == "import":
        streams = f"{len(spec.streams)} stream{'s' if len(spec.streams) > 1 else ''} ({', '.join(spec.streams)})"
        say(
            f"interpreted as {streams} of {spec.channels} channels in {spec.dtype}, {spec.frame_rate:g} frames per "
            "second; encoders and layers unknown"
        )


@app.command()
def index(
    store: Store,
    summaries: Annotated[
        bool,
        option("Run", "Also compute summaries of all records (reads all data), for store.summary().", "--summaries"),
    ] = False,
) -> None:
    """Rebuild the catalogue, so that a large store opens quickly.

    Example:
      hear-store index songs.zarr
    """
    from store import cache_summaries
    from store import index as index_store

    records = cache_summaries(store, progress=progress("summarise")) if summaries else index_store(store)
    say(f"{records} records indexed")


@app.command()
def merge(
    stores: Annotated[
        list[str], typer.Argument(metavar="SOURCE... TARGET", help="Stores with one spec; the last is written to.")
    ],
) -> None:
    """Copy the records of one or more stores into another, which is new or has the same spec.

    Example:
      hear-store merge part-1.zarr part-2.zarr songs.zarr
    """
    from store import merge as merge_stores

    if len(stores) < 2:
        raise typer.BadParameter("give at least one source and a target")
    report = merge_stores(stores[:-1], stores[-1], progress=progress("merge"))
    say(f"{report.copied} records copied to {stores[-1]}, {report.kept} were already there or occurred twice")


@app.command()
def prune(
    store: Store,
    song: Annotated[
        list[str] | None, option("Input", "Remove this song; can be repeated. All songs if not given.")
    ] = None,
    view: Annotated[
        list[int] | None, option("Input", "Remove this view; can be repeated. All views if not given.", min=0)
    ] = None,
    dry_run: Annotated[bool, option("Run", "Only print the records that would be removed.", "--dry-run")] = False,
) -> None:
    """Remove songs, views of all songs, or (with both options) views of some songs.

    Example:
      hear-store prune songs.zarr --view 7 --view 8 --dry-run
    """
    if not song and not view:
        raise typer.BadParameter("give --song, --view or both")
    chosen = _prune(store, song or (), view or (), dry_run=dry_run)
    if dry_run:
        _say_records(chosen)
    say(f"{len(chosen)} records {'would be ' if dry_run else ''}removed")


def _prune(store: str, songs: Sequence[str], views: Sequence[int], *, dry_run: bool) -> Sequence[tuple[str, int]]:
    """Prune a store; if that ends early, print the removed records."""
    from store import prune as prune_store

    removed: list[tuple[str, int]] = []
    try:
        return prune_store(
            store, songs=songs, views=views, dry_run=dry_run, progress=progress("prune"), removed=removed.append
        )
    except BaseException:  # also Ctrl-C
        _say_records(removed)
        if removed:
            say(f"ended early: {len(removed)} records removed, all listed above; run it again to continue")
        raise


def _say_records(records: Sequence[tuple[str, int]]) -> None:
    for song, view in records:
        say(f"{to_json(song)} {view}")


for command in (neighbours, distance):
    app.command()(command)
