"""`hear-store neighbours`: nearest songs, and near twins across splits or stores."""

from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli.options import Json
from pipeline.cli.pages import option
from pipeline.show.bars import progress
from pipeline.show.output import note, say_json, say_text

Store = Annotated[str, typer.Argument(metavar="STORE", help="A folder, or a URL such as s3://bucket/name.zarr.")]
Streams = Annotated[
    list[str] | None, option("Input", "Compare only this stream; can be repeated. All if not given.", "--stream")
]


def neighbours(
    store: Store,
    against: Annotated[
        str | None, option("Input", "Find the neighbours in STORE of this store's songs, such as a test set.")
    ] = None,
    manifest: Annotated[
        Path | None, option("Input", "manifest.csv: only its songs, and the nearest in each of its splits.")
    ] = None,
    streams: Streams = None,
    nearest: Annotated[int, option("Evaluation", "Nearest songs to list for each song and split.", min=1)] = 1,
    csv: Annotated[Path | None, option("Output", "Write all pairs to this CSV file.")] = None,
    as_json: Json = False,
) -> None:
    """Find each song's nearest songs, and warn of near twins of training songs in validation and test.

    A near twin is a copy, another encoding or a version of a song. The threshold comes from the store: from augmented
    views, if it has them, or else from the similarities of nearest songs. Reads the whole store; `hear-store index
    --summaries` makes it quick.

    Example:
      hear-store neighbours songs.zarr --manifest manifest.csv
    """
    from stages.scoring.files import check_outputs
    from stages.similarity.neighbours import find_neighbours
    from stages.songs import read_manifest
    from store import EmbeddingStore

    check_outputs({"--csv": csv}, {})
    songs = read_manifest(manifest, check_files=False).songs if manifest else None
    report = find_neighbours(
        EmbeddingStore.open(store), against=EmbeddingStore.open(against) if against else None,
        splits=None if songs is None else {song.song_id: song.split for song in songs},
        streams=streams, nearest=nearest, progress=progress("read"),
    )  # fmt: skip
    if csv:
        report.write_csv(csv)
    say_json(report.to_json(), indent=2) if as_json else say_text(report.to_text())
    for line in report.warnings:
        note(f"warning: {line}")
