"""`hear-head ablate`: the paper's Table 2 from one store."""

from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli.common import DEFAULTS, params_option, refuse_changed_songs
from pipeline.cli.head_inputs import ManifestPath, ReceiptPath, Store, Track, named_store
from pipeline.cli.head_options import options_from
from pipeline.params import HeadParams
from pipeline.show.output import note, say_table

# Rows with augmented views would make more steps than those without: one view per epoch makes them equal.
ROWS = DEFAULTS.head.model_copy(update={"views_per_epoch": 1})


@options_from(ROWS, name="params", without=("architecture",))
def ablate(
    manifest: ManifestPath,
    track: Track,
    out: Annotated[Path, typer.Option(help="Folder of the table, and of a run's folder for each of its rows.")],
    params: HeadParams,
    store: Store = None,
    receipt: ReceiptPath = None,
    seeds: Annotated[int, typer.Option(help="Heads a row, with seeds --seed, --seed + 1, …: mean ± std.", min=1)] = 1,
    parallel: Annotated[
        int | None,
        typer.Option(
            help="Runs at a time, each in a process; 1: in this one. Changes no result.",
            min=1,
            show_default="as many as memory, and cores or GPUs, allow",
        ),
    ] = None,
    threads: Annotated[
        int | None,
        typer.Option(
            help="CPU threads a run; results differ in their last bits.", min=1, show_default="an eighth of the cores"
        ),
    ] = None,
    replace: Annotated[
        bool,
        typer.Option(
            "--replace", help="Train again what other parameters or songs made in --out; otherwise it is refused."
        ),
    ] = False,
    params_file: Annotated[Path | None, params_option("head")] = None,
) -> None:
    """Train the eight rows of Table 2 and print them beside the paper's; run again, it goes on where it was cut off."""
    from pipeline.ablation import run_ablation
    from stages.head.config import TrainConfig
    from stages.head.training.runs import Job
    from stages.songs import read_manifest

    job = Job(
        name="ablation",
        store_root=named_store(store, receipt),
        manifest=read_manifest(manifest, check_files=False),
        track=track,
        out=out,
        config=TrainConfig(**params.model_dump()),
        receipt=receipt,
        replace=replace,
    )

    refuse_changed_songs(job.store_root, job.manifest.among("train", "val"))
    say_table(run_ablation(job, seeds=seeds, parallel=parallel, threads=threads, say=note))
