"""`hear-head predict`: songs → scores, on the terminal and in files."""

import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.cli.common import DEFAULTS, params_option
from pipeline.cli.options import Checkpoints, Hop, Muq, Musicfm, PublishedTrack, Window, checkpoints_or_published
from pipeline.cli.pages import option
from pipeline.cli.section_options import options_from
from pipeline.show.output import note, say_json

if TYPE_CHECKING:
    from pipeline.prediction import Outputs, Request
    from stages.scoring.rows import SongScore

Inputs = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="INPUT",
        help="Files, folders, patterns, lists (.txt of paths, wav.scp, .jsonl), or - to read paths from standard "
        "input; with --store, song ids.",
    ),
]
StoreToScore = Annotated[str | None, option("Input", "Score the songs of this store, without reading audio.")]
ManifestFile = Annotated[
    Path | None, option("Input", "manifest.csv: ids and groups; without INPUT, score all of its songs.")
]
Split = Annotated[str, option("Input", "Score only this split of the manifest: train, val or test.")]
JsonFile = Annotated[Path | None, option("Output", "Write a JSON list of song_id, path and scores.", "--json")]
Csv = Annotated[Path | None, option("Output", "Write CSV: one line per song with spread, warning and error.")]
Scp = Annotated[Path | None, option("Output", "Write the challenge's format: song id and scores.")]
Jsonl = Annotated[Path | None, option("Output", "Write one JSON line per song, as soon as it is scored.")]
Resume = Annotated[
    bool, option("Run", "Skip songs that --jsonl already has from the same files and heads.", "--resume")
]
By = Annotated[
    str, option("Output", "Compare groups: folder (the first folder of a song), or a manifest column such as system.")
]
Top = Annotated[int | None, option("Output", "Print only this many songs, best first.", min=1)]
Beside = Annotated[
    list[str] | None,
    option("Model", "Another model's scores beside ours: audiobox, songeval=FILE or module:function; repeatable."),
]
OverTime = Annotated[bool, option("Scoring", "Also score sliding windows.", "--over-time")]
Plots = Annotated[
    Path | None,
    option("Output", "Folder for one PNG per song: waveform, scores over time, radar; implies --over-time."),
]
Report = Annotated[Path | None, option("Output", "Folder for a report page, index.html; implies --over-time.")]


@options_from(DEFAULTS.encoders, "Machine", only=("device", "precision"))
def predict(
    params: Mapping[str, Any],
    inputs: Inputs = None,
    checkpoint: Checkpoints = None,
    track: PublishedTrack = None,
    store: StoreToScore = None,
    manifest: ManifestFile = None,
    split: Split = "",
    json_: JsonFile = None,
    csv: Csv = None,
    scp: Scp = None,
    jsonl: Jsonl = None,
    resume: Resume = False,
    by: By = "",
    top: Top = None,
    over_time: OverTime = False,
    window: Window = 10.0,
    hop: Hop = 2.0,
    plots: Plots = None,
    report: Report = None,
    muq: Muq = None,
    musicfm: Musicfm = None,
    beside: Beside = None,
    params_file: Annotated[Path | None, params_option("encoders")] = None,
) -> None:
    """Score songs: print a table on a terminal; elsewhere, one JSON line per song as soon as it is scored.

    Without --checkpoint, the authors' published head is used; it and its encoders are downloaded once. If a file
    cannot be scored, its row has an error and the exit code is 1.

    Example:
      hear-head predict song.wav
      hear-head predict songs/ --checkpoint heads/2 --csv scores.csv --report report
    """
    from pipeline.prediction import Outputs, Request, check_request
    from stages.scoring.over_time import Windows

    windows = Windows(window, hop) if over_time or plots or report else None
    request = Request(
        inputs=inputs or [], lines=standard_input(), checkpoints=checkpoint or (), store=store, manifest=manifest,
        split=split, by=by, windows=windows, encoders={"muq": muq, "musicfm": musicfm, **params}, beside=beside or [],
    )  # fmt: skip
    outputs = Outputs(json=json_, csv=csv, scp=scp, jsonl=jsonl, resume=resume, plots=plots, report=report)
    if wrong := check_request(request, outputs):
        raise typer.BadParameter(wrong)
    request = replace(request, checkpoints=checkpoints_or_published(checkpoint, track))
    _run(request, outputs, by=by, top=top)


def _run(request: "Request", outputs: "Outputs", *, by: str, top: int | None) -> None:
    """Score, print, and exit with 1 if a song failed."""
    from pipeline.prediction import predict as score

    table = sys.stdout.isatty()
    found = score(request, outputs, on_row=_silent if table or top else _echo)
    _show(found.rows, found.dimensions, by=by, top=top, table=table)
    note(found.line)
    if outputs.scp and found.caution:
        note(f"{outputs.scp}: its format cannot hold this caution: {found.caution}")
    if found.report:
        note(f"report: {found.report}")
    if found.failed:
        raise typer.Exit(1)


def standard_input() -> Iterator[str]:
    """Lines of standard input, read only if `-` is an input; names that are not UTF-8 survive."""
    for line in sys.stdin.buffer:
        yield line.decode("utf-8", "surrogateescape")


def _silent(row: "SongScore") -> None:
    """Do nothing: rows are shown at the end."""


def _echo(row: "SongScore") -> None:
    say_json(row.to_json())


def _show(rows: list["SongScore"], dimensions: tuple[str, ...], *, by: str, top: int | None, table: bool) -> None:
    from pipeline.show.tables import print_scores
    from stages.scoring.statistics import best

    if table:
        print_scores(rows, dimensions, by=by, top=top)
    elif top:
        for row in best(rows, top):
            _echo(row)
    if not table:
        # A program reads standard output here; the batch's statistics are for people.
        print_scores(rows, dimensions, by=by, top=0, err=True)
