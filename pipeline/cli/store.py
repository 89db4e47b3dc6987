"""`hear-store`: inspect, check, convert, merge and prune stores."""

from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli.common import new_app
from pipeline.cli.options import Json
from pipeline.cli.pages import option
from pipeline.show.bars import progress
from pipeline.show.output import say, say_json, say_text
from store.files.visible import to_json

app = new_app("store", "Inspect and check stores of embeddings, convert them to and from HDF5, merge and prune them.")
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


@app.command()
def verify(
    store: Store,
    repair: Annotated[
        bool, option("Run", "Remove damaged records, so that hear-extract makes them again.", "--repair")
    ] = False,
    receipt: Annotated[
        Path | None, option("Input", "Receipt of hear-extract: also check that the store matches it.")
    ] = None,
    manifest: Annotated[
        Path | None, option("Input", "manifest.csv: also find records whose song files have changed.")
    ] = None,
) -> None:
    """Read and check every byte: checksums, shapes, finite values, spec, missing and foreign files.

    With --manifest, also hash the songs' files and check that each record was made from its song's current file. Prints
    one line per problem, then one line of counts. The exit code is 1 if a problem is left.

    Example:
      hear-store verify songs.zarr --repair
    """
    from stages.extract.freshness import SourceCheck
    from stages.songs import read_manifest
    from store import Damage, EmbeddingStore, check_receipt
    from store import verify as verify_store

    sources = SourceCheck(read_manifest(manifest, check_files=False).songs if manifest else ())
    removed: list[Damage] = []

    def show(problem: Damage) -> None:
        say(f"{problem.kind}: {problem.path}: {problem.detail}{' (removed)' if problem.removed else ''}")

    def show_removed(problem: Damage) -> None:
        removed.append(problem)
        show(problem)

    try:
        found = verify_store(store, repair=repair, outdated=sources, progress=progress("verify"), removed=show_removed)
    except BaseException:  # also Ctrl-C
        if repair:
            say(f"ended early: {len(removed)} removed, all listed above; run it again")
        raise
    for problem in found.problems:
        if not problem.removed:
            show(problem)
    for song, reason in sources.missing.items():
        say(f"no source: {song}: {reason}")
    left = sum(not problem.removed for problem in found.problems)
    say(f"{found.records} records good, {len(found.problems)} problems, {len(found.problems) - left} removed")
    if manifest:
        say(f"{len(sources.compared)} records compared with their songs' files, {len(sources.missing)} files missing")
    if left:
        raise typer.Exit(1)
    if receipt is not None:
        check_receipt(receipt, EmbeddingStore.open(store))


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
    from store import prune as prune_store

    if not song and not view:
        raise typer.BadParameter("give --song, --view or both")
    removed: list[tuple[str, int]] = []

    def show(record: tuple[str, int]) -> None:
        say(f"{to_json(record[0])} {record[1]}")

    try:
        chosen = prune_store(
            store,
            songs=song or (),
            views=view or (),
            dry_run=dry_run,
            progress=progress("prune"),
            removed=removed.append,
        )
    except BaseException:  # also Ctrl-C
        for record in removed:
            show(record)
        if removed:
            say(f"ended early: {len(removed)} records removed, all listed above; run it again to continue")
        raise
    for record in chosen if dry_run else ():
        show(record)
    say(f"{len(chosen)} records {'would be ' if dry_run else ''}removed")
