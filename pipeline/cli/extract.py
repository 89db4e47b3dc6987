"""`hear-extract`: songs → embeddings in a store."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.cli.common import DEFAULTS, params_option, version_option
from pipeline.cli.options import Manifest
from pipeline.cli.pages import App, option
from pipeline.cli.section_options import options_from
from pipeline.show.output import note, say, say_json
from stages.common.machine import default_readers

if TYPE_CHECKING:
    from pipeline.extraction import ExtractionSummary
    from pipeline.shards import Shard

app = App()
Readers = Annotated[
    int | None,
    option(
        "Machine",
        f"Processes that decode and augment songs for each encoder; by default {default_readers()} on this machine, "
        "divided by --workers.",
        min=0,
    ),
]
Workers = Annotated[int, option("Machine", "Dask worker processes on this machine; 0: use this process.", min=0)]
Scheduler = Annotated[str, option("Machine", "Use the workers of this Dask scheduler, such as tcp://host:8786.")]

ShardText = Annotated[
    str | None, option("Machine", "Extract only the i-th of n parts of the songs, for array jobs.", metavar="<i/n>")
]
Written = Annotated[Path | None, option("Output", "Write the receipt, which stage two checks, to this file.")]
MaxFailures = Annotated[int | None, option("Run", "Stop when more views than this have failed.", min=0)]


@app.command()
@options_from(DEFAULTS.encoders, "Model")
@options_from(DEFAULTS.extract, "Output")
def extract(
    context: typer.Context,
    manifest: Manifest,
    store: Annotated[str, option("Output", "Store to fill: a folder, or a URL such as s3://bucket/name.zarr.")],
    params: Mapping[str, Any],
    receipt: Written = None,
    readers: Readers = None,
    workers: Workers = 0,
    scheduler: Scheduler = "",
    shard: ShardText = None,
    max_failures: MaxFailures = None,
    force: Annotated[bool, option("Run", "Start even if disk space is short.", "--force")] = False,
    dry_run: Annotated[bool, option("Run", "Print the cost of the run as JSON, and exit.", "--dry-run")] = False,
    params_file: Annotated[Path | None, params_option("encoders", "extract")] = None,
    version: Annotated[bool, version_option("extract")] = False,
) -> None:
    """Stage one: augment songs, run the encoders once, and write multi-scale embeddings to a store.

    Prints one line of counts. If a song failed, the exit code is 1; failures are listed on stderr and in failures.jsonl
    beside the store. A second run extracts only missing views and songs whose files have changed.

    Example:
      hear-extract --manifest manifest.csv --store songs.zarr --augment 0
    """
    from pipeline import extraction
    from stages.extract.config import ExtractConfig

    settings = {**params, "preset": _implied_preset(context, params["preset"])}
    augment = settings.pop("augment")
    config = ExtractConfig(**settings)
    part = _parsed(shard)
    readers = default_readers(max(1, workers)) if readers is None else readers
    if dry_run:
        say_json(extraction.dry_run(manifest, store, config, augment=augment, readers=readers, shard=part), indent=2)
        return
    options = extraction.ExtractionOptions(
        readers=readers, workers=workers, scheduler=scheduler, shard=part, max_failures=max_failures, force=force
    )
    summary = extraction.run_extraction(manifest, store, config, augment=augment, receipt=receipt, options=options)
    _report(summary, receipt)


def _report(summary: "ExtractionSummary", receipt: Path | None) -> None:
    """Print the counts; exit with 1 if a view failed or is left."""
    say(summary.line)
    for line in summary.notes(receipt):
        note(line)
    if summary.left or summary.tally.failures:
        raise typer.Exit(1)


def _parsed(shard: str | None) -> "Shard | None":
    from pipeline.shards import Shard

    try:
        return None if shard is None else Shard.parse(shard)
    except ValueError as error:
        raise typer.BadParameter(f"--shard: {error}") from error


def _implied_preset(context: typer.Context, preset: str) -> str:
    """The preset: weights on the command line imply `pretrained`, even if a file says otherwise."""
    given = {
        name
        for name in ("preset", "muq", "musicfm")
        if (source := context.get_parameter_source(name)) is not None and source.name == "COMMANDLINE"
    }
    if not given & {"muq", "musicfm"}:
        return preset
    if "preset" in given and preset == "tiny":
        raise typer.BadParameter("--preset tiny takes no weights: leave --muq and --musicfm out")
    return "pretrained"
