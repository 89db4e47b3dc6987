"""`hear-head predict`: songs → scores, on the terminal and in files."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli.common import DEFAULTS, params_option
from pipeline.cli.scoring_options import (
    Checkpoints,
    DeviceOption,
    HopOption,
    MuqOption,
    MusicfmOption,
    Precision,
    PrecisionOption,
    WindowOption,
)
from pipeline.show.output import note, say_json

if TYPE_CHECKING:
    from stages.scoring.rows import SongScore

_ENCODERS = DEFAULTS.encoders


def predict(
    checkpoint: Checkpoints,
    inputs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="INPUT",
            help="Files, folders, patterns, lists (.txt of paths, wav.scp, .jsonl), - for paths on standard input; "
            "with --store song ids.",
        ),
    ] = None,
    store: Annotated[str | None, typer.Option(help="Score this store's songs, without touching audio.")] = None,
    manifest: Annotated[
        Path | None, typer.Option(help="Songs, ids and groups; its songs if no INPUT is given.")
    ] = None,
    split: Annotated[str, typer.Option(help="Only the manifest's songs of this split: train, val or test.")] = "",
    json_: Annotated[Path | None, typer.Option("--json", help="Write a list of song_id, path and scores.")] = None,
    csv: Annotated[Path | None, typer.Option(help="Write a line a song, with spread, warning and error.")] = None,
    scp: Annotated[Path | None, typer.Option(help="Write the challenge's format: the song id and its scores.")] = None,
    jsonl: Annotated[Path | None, typer.Option(help="Write a JSON line a song as soon as it is scored.")] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Keep what --jsonl has of the same files and heads.")
    ] = False,
    by: Annotated[
        str, typer.Option(help="Compare groups: folder (a song's first), or a column of the manifest, such as system.")
    ] = "",
    top: Annotated[int | None, typer.Option(help="Print only so many songs, the best first.", min=1)] = None,
    over_time: Annotated[bool, typer.Option("--over-time", help="Score sliding windows, too.")] = False,
    window: WindowOption = 10.0,
    hop: HopOption = 2.0,
    plots: Annotated[
        Path | None,
        typer.Option(help="Folder for a PNG a song: waveform, scores over time, radar; implies --over-time."),
    ] = None,
    report: Annotated[
        Path | None, typer.Option(help="Folder for a page to look at, index.html; implies --over-time.")
    ] = None,
    muq: MuqOption = None,
    musicfm: MusicfmOption = None,
    device: DeviceOption = _ENCODERS.device,
    precision: PrecisionOption = Precision(_ENCODERS.precision),
    params_file: Annotated[Path | None, params_option("encoders")] = None,
) -> None:
    """Score songs: a table on a terminal; elsewhere a JSON line a song, as soon as it is scored.

    A file that cannot be scored is a row with an error, and the exit code is 1.
    """
    from pipeline.prediction import Outputs, Request
    from pipeline.prediction import predict as run
    from stages.scoring.over_time import Windows

    _check_usage(inputs=bool(inputs), store=store, manifest=manifest, by=by, split=split, jsonl=jsonl, resume=resume)
    request = Request(
        inputs=inputs or [],
        lines=_standard_input(),
        checkpoints=checkpoint,
        encoders={"muq": muq, "musicfm": musicfm, "device": device, "precision": precision.value},
        store=store,
        manifest=manifest,
        split=split,
        by=by,
        windows=Windows(window, hop) if over_time or plots or report else None,
    )
    outputs = Outputs(json=json_, csv=csv, scp=scp, jsonl=jsonl, resume=resume, plots=plots, report=report)
    table = sys.stdout.isatty()
    found = run(request, outputs, hear=_silent if table or top else _echo)
    _show(found.rows, found.dimensions, by=by, top=top, table=table)
    note(found.line)
    if scp and found.caution:
        note(f"{scp}: its format has no room for this: {found.caution}")
    if found.report:
        note(f"report: {found.report}")
    if found.failed:
        raise typer.Exit(1)


def _check_usage(
    *, inputs: bool, store: str | None, manifest: Path | None, by: str, split: str, jsonl: Path | None, resume: bool
) -> None:
    if not inputs and store is None and manifest is None:
        raise typer.BadParameter("give songs: INPUT, --store or --manifest")
    # Other groups than folders are a manifest's columns.
    column = by not in ("", "folder")
    if manifest is None and (column or split):
        raise typer.BadParameter(f"{'--by' if column else '--split'} names something in a manifest: give --manifest")
    if inputs and split:
        raise typer.BadParameter("--split chooses among the manifest's songs: leave INPUT out")
    if resume and jsonl is None:
        raise typer.BadParameter("--resume goes on with the file of --jsonl: give both")


def _standard_input() -> Iterator[str]:
    """Lines of standard input, read only when `-` asks for them; names that are not UTF-8 survive."""
    for line in sys.stdin.buffer:
        yield line.decode("utf-8", "surrogateescape")


def _silent(row: "SongScore") -> None:
    """Rows are shown at the end."""


def _echo(row: "SongScore") -> None:
    say_json(row.to_json())


def _show(rows: list["SongScore"], dimensions: tuple[str, ...], *, by: str, top: int | None, table: bool) -> None:
    from pipeline.show.score_tables import print_scores
    from stages.scoring.statistics import best

    if table:
        print_scores(rows, dimensions, by=by, top=top)
    elif top:
        for row in best(rows, top):
            _echo(row)
    if not table:
        # The batch's figures are for people; standard output is for programs here.
        print_scores(rows, dimensions, by=by, top=0, err=True)
