"""`hear-head best-of`: the best of several candidates for each prompt."""

import sys
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from itertools import tee
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.cli.common import DEFAULTS, params_option
from pipeline.cli.head_commands.predict import ManifestFile, standard_input
from pipeline.cli.options import AudioInputs, Checkpoints, Muq, Musicfm, PublishedTrack, checkpoints_or_published
from pipeline.cli.pages import option
from pipeline.cli.section_options import options_from
from pipeline.show.output import note, say_json

if TYPE_CHECKING:
    from pipeline.prediction import Request
    from stages.scoring.reward.best_of import PromptChoice

MEAN = "mean"

Count = Annotated[
    int, typer.Argument(metavar="N", min=2, help="Candidates per prompt; prompts with another number are noted.")
]
Scores = Annotated[
    Path | None, option("Input", "Choose by these scores, a file of predict (JSON, JSON lines or CSV), without INPUT.")
]
By = Annotated[
    str,
    option(
        "Input",
        "The prompt of a song: folder (its first folder), a pattern of the song id such as '{prompt}_take*', a "
        "manifest column, a key of a .jsonl INPUT, or group (as in --scores).",
    ),
]
RankBy = Annotated[
    str,
    option("Scoring", "mean, a dimension, or several with weights such as Musicality=2,Clarity=1."),
]
JsonFile = Annotated[Path | None, option("Output", "Write a JSON list with one object per prompt.", "--json")]
Csv = Annotated[Path | None, option("Output", "Write CSV: one line per prompt.")]


@options_from(DEFAULTS.encoders, "Machine", only=("device", "precision"))
def best_of(
    count: Count,
    params: Mapping[str, Any],
    inputs: AudioInputs = None,
    checkpoint: Checkpoints = None,
    track: PublishedTrack = None,
    scores: Scores = None,
    manifest: ManifestFile = None,
    by: By = "folder",
    rank_by: RankBy = MEAN,
    json_: JsonFile = None,
    csv: Csv = None,
    muq: Muq = None,
    musicfm: Musicfm = None,
    params_file: Annotated[Path | None, params_option("encoders")] = None,
) -> None:
    """Choose the best of N candidates for each prompt, with its margin to the next best one.

    A candidate that is silent, damaged or unlike the training songs is chosen only if all candidates of its prompt are.
    With several heads, their disagreement (±) is beside the margin; a margin that is not larger is unclear. Output is
    a table on a terminal; elsewhere, one JSON line per prompt. If a file cannot be scored, the exit code is 1.

    Example:
      hear-head best-of 4 songs/ --checkpoint heads/2
    """
    if (scores and inputs) or not (scores or inputs or manifest):
        raise typer.BadParameter("give the songs (INPUT, or --manifest), or their --scores")
    from pipeline.prediction import Request

    request = Request(
        inputs=inputs or [], lines=standard_input(), manifest=manifest,
        encoders={"muq": muq, "musicfm": musicfm, **params},
        checkpoints=[] if scores else checkpoints_or_published(checkpoint, track),
    )  # fmt: skip
    _run(request, count, scores=scores, by=by, rank_by=rank_by, json_=json_, csv=csv)


def _run(
    request: "Request", count: int, *, scores: Path | None, by: str, rank_by: str, json_: Path | None, csv: Path | None
) -> None:
    """Choose, print, write the files, and exit with 1 if a song failed."""
    from pipeline.show.choices import counts_line, numbers_note, print_choices
    from stages.scoring.files import check_outputs, write_choices_csv, write_choices_json

    check_outputs({"--json": json_, "--csv": csv}, {})
    choices = _choices(request, scores, by=by, weights=_weights(rank_by))
    if sys.stdout.isatty():
        print_choices(choices, value=rank_by)
    else:
        for choice in choices:
            say_json(choice.to_json())
    if json_:
        write_choices_json(json_, choices)
    if csv:
        write_choices_csv(csv, choices)
    for line in (numbers_note(choices, count), counts_line(choices)):
        if line:
            note(line)
    if any(choice.failed for choice in choices):
        raise typer.Exit(1)


def _choices(
    request: "Request", scores: Path | None, *, by: str, weights: Mapping[str, float] | None
) -> "list[PromptChoice]":
    """Read the scores, or score the songs, and choose."""
    from pipeline.prediction import Outputs, predict, read_split
    from stages.compare.reading import read_scores
    from stages.scoring.inputs import expand_inputs, join_manifest
    from stages.scoring.reward.prompts import best_by
    from stages.scoring.reward.weights import normalised
    from stages.scoring.rows import SongScore

    manifest = read_split(request.manifest)
    choose = partial(best_by, by=by, inputs=request.inputs, manifest=manifest)
    if scores:
        return choose(read_scores(scores), weights=weights)
    lines, again = tee(request.lines)
    songs = join_manifest(expand_inputs(request.inputs, lines=lines), manifest)
    # A wrong --by is found before anything is scored, and wrong weights with the first score.
    choose([SongScore(song_id=song.song_id, path=song.shown_path) for song in songs])

    def check_weights(row: SongScore) -> None:
        if row.scores:
            normalised(weights, tuple(row.scores))

    return choose(predict(replace(request, lines=again), Outputs(), on_row=check_weights).rows, weights=weights)


def _weights(rank_by: str) -> dict[str, float] | None:
    """`Musicality=2,Clarity` → {"Musicality": 2, "Clarity": 1}; `mean` → None."""
    if rank_by == MEAN:
        return None
    weights = {}
    for part in filter(None, rank_by.split(",")):
        name, _, weight = part.partition("=")
        try:
            weights[name.strip()] = float(weight or 1)
        except ValueError:
            raise typer.BadParameter(f"--rank-by {part}: expected a number after =, found {weight!r}") from None
    return weights
