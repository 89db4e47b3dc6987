"""`hear-head stress`: planted changes with a known meaning, and how far they move the scores."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.cli.common import DEFAULTS, params_option
from pipeline.cli.head_commands.predict import ManifestFile, standard_input
from pipeline.cli.options import AudioInputs, Checkpoints, Muq, Musicfm, PublishedTrack, checkpoints_or_published
from pipeline.cli.pages import option
from pipeline.cli.section_options import options_from
from pipeline.show.output import note, say_json, say_text
from stages.common.machine import default_readers

if TYPE_CHECKING:
    from pipeline.stress import StressRequest

Split = Annotated[str, option("Input", "Use only this split of the manifest: train, val or test.")]
StressStore = Annotated[
    str, option("Output", "Store for the embeddings of changed songs; created if missing, continued otherwise.")
]
Changes = Annotated[
    str, option("Input", "Only these changes or kinds, such as gain,low-pass or nuisance; all if not given.")
]
By = Annotated[str, option("Evaluation", "Compare groups of songs by this manifest column, such as genre or system.")]
Tolerance = Annotated[float, option("Evaluation", "Largest mean change of a score that a nuisance may cause.", min=0.0)]
Out = Annotated[Path | None, option("Output", "Write all figures to this JSON file.")]
Report = Annotated[Path | None, option("Output", "Folder for a page with plots, index.html.")]
DryRun = Annotated[bool, option("Run", "Estimate hours, bytes and time; change nothing.", "--dry-run")]
Force = Annotated[bool, option("Run", "Start even if disk space is short.", "--force")]
Readers = Annotated[
    int | None, option("Machine", f"Processes that change songs; by default {default_readers()} here.", min=1)
]


@options_from(DEFAULTS.encoders, "Machine", only=("device", "precision"))
def stress(
    store: StressStore,
    params: Mapping[str, Any],
    inputs: AudioInputs = None,
    checkpoint: Checkpoints = None,
    track: PublishedTrack = None,
    manifest: ManifestFile = None,
    split: Split = "",
    by: By = "",
    changes: Changes = "",
    tolerance: Tolerance = 0.05,
    report: Report = None,
    out: Out = None,
    dry_run: DryRun = False,
    force: Force = False,
    readers: Readers = None,
    muq: Muq = None,
    musicfm: Musicfm = None,
    params_file: Annotated[Path | None, params_option("encoders")] = None,
) -> None:
    """Plant changes in songs: scores should stay under nuisances, and fall under damage.

    Changed songs are embedded once: a second run, or another head, uses --store. If a song failed, the exit code is 1.

    Example:
      hear-head stress songs/ --checkpoint heads/2 --store stress.zarr \\
          --report stress
    """
    from pipeline.stress import StressRequest, estimate_stress

    if not inputs and manifest is None:
        raise typer.BadParameter("give songs: INPUT or --manifest")
    if manifest is None and (by or split):
        raise typer.BadParameter(f"{'--by' if by else '--split'} refers to a manifest: give --manifest")
    request = StressRequest(
        inputs=inputs or [], lines=standard_input(), checkpoints=checkpoints_or_published(checkpoint, track),
        store=store, manifest=manifest, by=by, split=split, tolerance=tolerance,
        changes=[name for part in changes.split(",") if (name := part.strip())],
        readers=readers or default_readers(), force=force, encoders={"muq": muq, "musicfm": musicfm, **params},
    )  # fmt: skip
    if dry_run:
        say_json(estimate_stress(request), indent=2)
        return
    _run(request, report, out)


def _run(request: "StressRequest", report: Path | None, out: Path | None) -> None:
    """Print the table and the counts; exit with 1 if a song failed or is left."""
    from pipeline.stress import stress as measure

    found = measure(request, report=report, out=out)
    if found.table:
        say_text(found.table)
    if found.caution:
        note(f"caution: {found.caution}")
    note(found.line)
    if found.left:
        note(f"interrupted: {found.left} changed songs left; run the same command again to continue")
    elif report:
        note(f"report: {report / 'index.html'}")
    if found.left or found.failed:
        raise typer.Exit(1)
