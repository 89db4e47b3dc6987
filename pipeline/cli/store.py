"""`hear-store`: look at a store, check it, move it."""

from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli.common import new_app
from pipeline.show.bars import bar
from pipeline.show.output import say, say_json, say_table
from store.files.visible import to_json

app = new_app("store", "Look at a store of embeddings, check it, copy it to and from HDF5, merge and prune it.")
Store = Annotated[str, typer.Argument(metavar="STORE", help="A folder, or a URL such as s3://bucket/name.zarr.")]


@app.command()
def info(
    store: Store,
    manifest: Annotated[Path | None, typer.Option(help="manifest.csv: count each of its splits, too.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Print the spec, and songs, records, hours and bytes by split and view."""
    from pipeline.show.tables import describe_text
    from stages.songs import read_manifest
    from store import EmbeddingStore, describe

    songs = read_manifest(manifest, check_files=False).songs if manifest else None
    splits = None if songs is None else {song.song_id: song.split for song in songs}
    figures = describe(EmbeddingStore.open(store), splits=splits)
    if as_json:
        say_json(figures, indent=2)
    else:
        say_table(describe_text(figures))


@app.command()
def verify(
    store: Store,
    repair: Annotated[
        bool, typer.Option("--repair", help="Remove what is broken, so that hear-extract makes it again.")
    ] = False,
    receipt: Annotated[
        Path | None, typer.Option(help="A receipt of hear-extract: the store must still be what it says.")
    ] = None,
    manifest: Annotated[
        Path | None, typer.Option(help="manifest.csv: hash its songs' files, and find records made from other files.")
    ] = None,
) -> None:
    """Read every byte and check it: checksums, shapes, finiteness, spec, missing and foreign files.

    With --manifest, also check that each record was made from its song's file as it is now. Prints one line per problem
    and one of counts; exits 1 if a problem is left.
    """
    from stages.extract.freshness import SourceCheck
    from stages.songs import read_manifest
    from store import Damage, EmbeddingStore, check_receipt
    from store import verify as verify_store

    sources = SourceCheck(read_manifest(manifest, check_files=False).songs if manifest else ())
    removed: list[Damage] = []

    def tell(problem: Damage) -> None:
        say(f"{problem.kind}: {problem.path}: {problem.detail}{' (removed)' if problem.removed else ''}")

    def tell_removed(problem: Damage) -> None:
        removed.append(problem)
        tell(problem)

    try:
        found = verify_store(store, repair=repair, outdated=sources, progress=bar("verify"), removed=tell_removed)
    except BaseException:  # also Ctrl-C
        if repair:
            say(f"ended early: {len(removed)} removed, all named above; run it again")
        raise
    for problem in found.problems:
        if not problem.removed:
            tell(problem)
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
    """Write everything to one HDF5 file."""
    from store import export_hdf5

    say(f"{export_hdf5(store, file, progress=bar('export'))} records exported to {file}")


@app.command("import")
def import_(file: Annotated[Path, typer.Argument(metavar="FILE.h5")], store: Store) -> None:
    """Write an HDF5 file's records to a store, new or with the same spec.

    For a file that `hear-store export` did not write, it also prints what the embeddings were taken for.
    """
    from store import EmbeddingStore, import_hdf5

    say(f"{import_hdf5(file, store, progress=bar('import'))} records imported to {store}")
    spec = EmbeddingStore.open(store).spec
    if spec.origin == "import":
        streams = f"{len(spec.streams)} stream{'s' if len(spec.streams) > 1 else ''} ({', '.join(spec.streams)})"
        say(
            f"taken as {streams} of {spec.channels} channels in {spec.dtype}, {spec.frame_rate:g} frames a second; "
            "encoders and layers unknown"
        )


@app.command()
def index(
    store: Store,
    summaries: Annotated[
        bool, typer.Option("--summaries", help="Also pool every record (reads all data), for store.summary().")
    ] = False,
) -> None:
    """Make the catalogue anew, so that a large store opens quickly."""
    from store import cache_summaries
    from store import index as index_store

    records = cache_summaries(store, progress=bar("summarise")) if summaries else index_store(store)
    say(f"{records} records indexed")


@app.command()
def merge(
    stores: Annotated[
        list[str], typer.Argument(metavar="SOURCE... TARGET", help="Stores of one spec; the last is written to.")
    ],
) -> None:
    """Copy the records of one or more stores into another, new or with the same spec."""
    from store import merge as merge_stores

    if len(stores) < 2:
        raise typer.BadParameter("give at least one source and a target")
    report = merge_stores(stores[:-1], stores[-1], progress=bar("merge"))
    say(f"{report.copied} records copied to {stores[-1]}, {report.kept} were there or came twice")


@app.command()
def prune(
    store: Store,
    song: Annotated[
        list[str] | None, typer.Option(help="A song to remove; may be given again. Default: all songs.")
    ] = None,
    view: Annotated[
        list[int] | None, typer.Option(help="A view to remove; may be given again. Default: all views.", min=0)
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Change nothing; print what would be removed.")] = False,
) -> None:
    """Remove songs, views of all songs, or (with both) views of songs."""
    from store import prune as prune_store

    if not song and not view:
        raise typer.BadParameter("give --song, --view or both")
    removed: list[tuple[str, int]] = []

    def tell(record: tuple[str, int]) -> None:
        say(f"{to_json(record[0])} {record[1]}")

    try:
        chosen = prune_store(
            store,
            songs=song or (),
            views=view or (),
            dry_run=dry_run,
            progress=bar("prune"),
            removed=removed.append,
        )
    except BaseException:  # also Ctrl-C
        for record in removed:
            tell(record)
        if removed:
            say(f"ended early: {len(removed)} records removed, all named above; the same command goes on")
        raise
    for record in chosen if dry_run else ():
        tell(record)
    say(f"{len(chosen)} records {'would be ' if dry_run else ''}removed")
