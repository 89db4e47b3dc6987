"""`hear-head leave-out`: heads that have never heard a generator, on its songs."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pipeline.cli.common import DEFAULTS, params_option, refuse_changed_songs
from pipeline.cli.options import Manifest, Receipt, Store, Track, find_store
from pipeline.cli.pages import option
from pipeline.cli.section_options import options_from
from pipeline.show.output import note, say_text


@options_from(DEFAULTS.head, "Training")
def leave_out(
    manifest: Manifest,
    track: Track,
    out: Annotated[Path, option("Output", "Folder for the runs and leave-out.json; run again to continue.")],
    params: Mapping[str, Any],
    store: Store = None,
    receipt: Receipt = None,
    by: Annotated[str, option("Input", "Column of the manifest whose groups are left out one by one.")] = "system",
    params_file: Annotated[Path | None, params_option("head")] = None,
) -> None:
    """Train a head without each generator, and compare it on that generator's songs with a head that has heard it.

    All heads have the same config and seed. Complete runs in --out are kept.

    Example:
      hear-head leave-out --manifest manifest.csv --store songs.zarr \\
          --track 2 --out left-out
    """
    from pipeline.runs import plan_job
    from pipeline.training_progress import TrainingBar
    from stages.head.files import write_json
    from stages.head.training.runs import refuse_failures, run_jobs
    from stages.robustness.left_out import check_left_out, compare_left_out, left_out_jobs, left_out_table

    job = plan_job("leave-out", find_store(store, receipt), manifest, receipt, track=track, out=out, params=params)
    refuse_changed_songs(job.store_root, job.manifest.among("train", "val"))
    jobs = left_out_jobs(job, by)
    check_left_out(jobs)
    results = run_jobs(
        list(jobs.values()),
        listeners=lambda one: (TrainingBar(one.name),),
        report=lambda end: note(f"{end.job.name}: {end.error or ('done' if end.trained else 'already complete')}"),
    )
    refuse_failures(results)
    found = compare_left_out(jobs, by)
    write_json(out / "leave-out.json", {"by": by, "track": track, "groups": [one.to_json() for one in found]})
    say_text(left_out_table(found, by))
