"""`hear-head ablate`: the paper's Table 2 from one store."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pipeline.cli.common import DEFAULTS, params_option, refuse_changed_songs
from pipeline.cli.options import Manifest, Receipt, Store, Track, find_store
from pipeline.cli.pages import option
from pipeline.cli.section_options import options_from
from pipeline.show.output import note, say_text

# With all views, rows with augmentation would take more steps than rows without: one view per epoch makes them equal.
ROWS = DEFAULTS.head.model_copy(update={"views_per_epoch": 1})

Seeds = Annotated[
    int, option("Training", "Heads per row, with seeds --seed, --seed + 1, …; reported as mean ± std.", min=1)
]
Parallel = Annotated[
    int | None,
    option(
        "Machine",
        "Runs at a time, each in its own process; 1: in this process. If not given, as many as memory and cores or "
        "GPUs allow. Changes no result.",
        min=1,
    ),
]
Threads = Annotated[
    int | None,
    option(
        "Machine",
        "CPU threads per run; if not given, an eighth of the cores. Changes the last bits of results.",
        min=1,
    ),
]
Replace = Annotated[
    bool,
    option(
        "Run",
        "Train rows again that are in --out with other parameters or songs; otherwise they are an error.",
        "--replace",
    ),
]


@options_from(ROWS, "Training", without=("architecture",))
def ablate(
    manifest: Manifest,
    track: Track,
    out: Annotated[Path, option("Output", "Folder for the table, with one run folder per row.")],
    params: Mapping[str, Any],
    store: Store = None,
    receipt: Receipt = None,
    seeds: Seeds = 1,
    parallel: Parallel = None,
    threads: Threads = None,
    replace: Replace = False,
    params_file: Annotated[Path | None, params_option("head")] = None,
) -> None:
    """Train the eight rows of Table 2 and print them with the paper's results; run it again to continue.

    Example:
      hear-head ablate --manifest manifest.csv --store songs.zarr \\
          --track 1 --out table2
    """
    from pipeline.ablation import run_ablation
    from pipeline.runs import plan_job

    job = plan_job(
        "ablation", find_store(store, receipt), manifest, receipt, track=track, out=out, params=params, replace=replace
    )
    refuse_changed_songs(job.store_root, job.manifest.among("train", "val"))
    say_text(run_ablation(job, seeds=seeds, parallel=parallel, threads=threads, say=note))
