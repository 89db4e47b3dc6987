"""`hear-extract`: songs → embeddings in a store."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli.common import DEFAULTS, command_app, params_option, version_option
from pipeline.show.output import note, say, say_json
from stages.common.machine import count_cores

app = command_app()
_ENCODERS, _EXTRACT = DEFAULTS.encoders, DEFAULTS.extract


class Preset(StrEnum):
    """Where encoders come from."""

    TINY = "tiny"
    PRETRAINED = "pretrained"


class Precision(StrEnum):
    """What the encoders compute in."""

    AUTO = "auto"
    FP32 = "fp32"
    BF16 = "bf16"


class StorageType(StrEnum):
    """What embeddings are stored as."""

    FLOAT16 = "float16"
    FLOAT32 = "float32"
    INT8 = "int8"


@app.command()
def extract(
    context: typer.Context,
    manifest: Annotated[Path, typer.Option(help="manifest.csv, as hear-data writes it.")],
    store: Annotated[str, typer.Option(help="The store to fill: a folder, or a URL such as s3://bucket/name.zarr.")],
    augment: Annotated[
        int, typer.Option(help="Augmented views a training song, beside the clean one.", min=0)
    ] = _EXTRACT.augment,
    preset: Annotated[Preset, typer.Option(help="tiny: real architecture, small, untrained.")] = Preset(
        _ENCODERS.preset
    ),
    muq: Annotated[str, typer.Option(help="MuQ: hub id or folder; implies pretrained.")] = _ENCODERS.muq,
    musicfm: Annotated[str, typer.Option(help="MusicFM: hub id or folder; implies pretrained.")] = _ENCODERS.musicfm,
    layers: Annotated[
        str, typer.Option("--layers", "--layer", help="Conformer layers to keep, such as 10 or 6,10.")
    ] = ",".join(map(str, _ENCODERS.layers)),
    streams: Annotated[
        str, typer.Option(help="Streams to keep, such as muq/track,muq/segment; empty for all four.")
    ] = ",".join(_ENCODERS.streams),
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1, or auto.")] = _ENCODERS.device,
    precision: Annotated[Precision, typer.Option(help="auto: bf16 where the hardware has it.")] = Precision(
        _ENCODERS.precision
    ),
    dtype: Annotated[StorageType, typer.Option(help="Storage type of the embeddings.")] = StorageType(_EXTRACT.dtype),
    pool: Annotated[
        int, typer.Option(help="Frames (of 25 a second) averaged into one stored frame.", min=1)
    ] = _EXTRACT.pool,
    seed: Annotated[int, typer.Option(help="Seed of the augmentation.")] = _EXTRACT.seed,
    receipt: Annotated[Path | None, typer.Option(help="Where to write the receipt that stage two checks.")] = None,
    readers: Annotated[int, typer.Option(help="Processes that decode and augment ahead of each encoder.", min=0)] = max(
        1, min(8, count_cores() - 1)
    ),
    workers: Annotated[int, typer.Option(help="Dask worker processes on this machine; 0: this process.", min=0)] = 0,
    scheduler: Annotated[str, typer.Option(help="A Dask scheduler to use instead, such as tcp://host:8786.")] = "",
    max_failures: Annotated[int | None, typer.Option(help="Stop when more views than this have failed.", min=0)] = None,
    force: Annotated[bool, typer.Option("--force", help="Start without space for everything.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what a run would cost as JSON, and exit.")] = False,
    params_file: Annotated[Path | None, params_option("encoders", "extract")] = None,
    version: Annotated[bool, version_option("extract")] = False,
) -> None:
    """Stage one: augment songs, run the encoders once, write multi-scale embeddings to a store.

    Prints one line of counts; exits 1 if a song failed (each is named on stderr and in failures.jsonl beside the
    store). A second run makes only what is missing, and the songs whose files have changed.
    """
    from pipeline import extraction
    from stages.extract.config import ExtractConfig

    config = ExtractConfig(
        preset=_implied(context, preset).value,
        muq=muq,
        musicfm=musicfm,
        layers=_integers(layers),
        streams=tuple(name for name in streams.split(",") if name),
        precision=precision.value,
        device=device,
        seed=seed,
        dtype=dtype.value,
        pool=pool,
    )
    if dry_run:
        say_json(extraction.dry_run(manifest, store, config, augment=augment, readers=readers), indent=2)
        return
    options = extraction.ExtractionOptions(
        readers=readers, workers=workers, scheduler=scheduler, max_failures=max_failures, force=force
    )
    summary = extraction.run_extraction(manifest, store, config, augment=augment, receipt=receipt, options=options)
    say(summary.line)
    if summary.left:
        note(f"{summary.stopped}: {summary.left} views left; the same command goes on from here")
    elif receipt is not None and summary.again < summary.changed:
        old = summary.changed - summary.again
        note(f"no receipt written: {old} changed songs could not be made again, and their old records stay")
    if summary.left or summary.tally.failures:
        raise typer.Exit(1)


def _implied(context: typer.Context, preset: Preset) -> Preset:
    """Weights on the command line imply `pretrained`, whatever a file of parameters says; beside `--preset tiny` they
    are wrong usage.
    """
    given = {
        name
        for name in ("preset", "muq", "musicfm")
        if (source := context.get_parameter_source(name)) is not None and source.name == "COMMANDLINE"
    }
    if not given & {"muq", "musicfm"}:
        return preset
    if "preset" in given and preset is Preset.TINY:
        raise typer.BadParameter("--preset tiny takes no weights: leave --muq and --musicfm out")
    return Preset.PRETRAINED


def _integers(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise typer.BadParameter(f"--layers takes numbers such as 10 or 6,10, found {text!r}") from None
