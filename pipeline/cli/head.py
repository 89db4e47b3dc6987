"""`hear-head`: train, evaluate and use heads on stored embeddings."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from pipeline.cli.common import DEFAULTS, new_app, params_option, refuse_changed_songs
from pipeline.cli.entry import note_named
from pipeline.cli.head_commands.ablate import ablate
from pipeline.cli.head_commands.best_of import best_of
from pipeline.cli.head_commands.compare import compare
from pipeline.cli.head_commands.hub import pull, push
from pipeline.cli.head_commands.leave_out import leave_out
from pipeline.cli.head_commands.predict import predict
from pipeline.cli.head_commands.stress import stress
from pipeline.cli.options import Bootstrap, Manifest, Receipt, Store, Track, find_store
from pipeline.cli.pages import option
from pipeline.cli.section_options import options_from
from pipeline.show.output import say_text

app = new_app("head", "Train, evaluate and use HEAR's head on stored embeddings.")

Checkpoint = Annotated[
    str, option("Model", "A head: a run's folder, a published .pth or .safetensors file, or a hub id.")
]
Raters = Annotated[
    Path | None,
    option("Evaluation", "SongEval's metadata.jsonl: also show how far its raters agree, the ceiling for any head."),
]
Seeds = Annotated[
    int, option("Training", "Train this many heads, with seeds --seed, --seed + 1, …; they score as one.", min=1)
]


@app.command()
@options_from(DEFAULTS.head, "Training")
def train(
    manifest: Manifest,
    track: Track,
    out: Annotated[Path, option("Output", "Folder for the run; its best head is written there.")],
    params: Mapping[str, Any],
    store: Store = None,
    receipt: Receipt = None,
    seeds: Seeds = 1,
    resume: Annotated[bool, option("Run", "Continue an interrupted run in --out; keep a complete one.", "--resume")] = (
        False
    ),
    tensorboard: Annotated[
        bool, option("Output", "Also write curves for TensorBoard into --out/tensorboard.", "--tensorboard")
    ] = False,
    params_file: Annotated[Path | None, params_option("head")] = None,
) -> None:
    """Train a head, or several seeds; print the best validation, or mean ± standard deviation over seeds.

    Example:
      hear-head train --manifest manifest.csv --store songs.zarr \\
          --track 2 --out heads/2
    """
    from pipeline.runs import plan_job
    from pipeline.training_progress import listeners_of
    from stages.head.training.seeds import train_seeds
    from stages.head.training.train import train_on

    job = plan_job(f"track {track}", find_store(store, receipt), manifest, receipt, track=track, out=out, params=params)
    refuse_changed_songs(job.store_root, job.manifest.among("train", "val"))
    listeners = partial(listeners_of, tensorboard=tensorboard)
    if seeds > 1:
        say_text(train_seeds(job, seeds=seeds, resume=resume, listeners=listeners, say=note_named).table)
        return
    report = train_on(
        job.open(), track=track, out=out, config=job.config, resume=resume, listeners=listeners(job), say=note_named
    )
    say_text(report.line)


@app.command()
@options_from(DEFAULTS.head, "Input", only=("device", "allow_missing"))
def evaluate(
    checkpoint: Checkpoint,
    manifest: Manifest,
    out: Annotated[Path, option("Output", "Write all metrics to this JSON file.")],
    params: Mapping[str, Any],
    store: Store = None,
    receipt: Receipt = None,
    split: Annotated[str, option("Input", "Split to evaluate: train, val or test.")] = "val",
    summary: Annotated[
        Path | None, option("Output", "Write the four means to this flat JSON file, for DVC's tables.")
    ] = None,
    plots: Annotated[Path | None, option("Output", "Folder for tables and plots.")] = None,
    bootstrap: Bootstrap = 1000,
    raters: Raters = None,
    params_file: Annotated[Path | None, params_option("head")] = None,
) -> None:
    """Compare a head's scores with the ratings of one split, and print a table.

    Example:
      hear-head evaluate --checkpoint heads/2 --manifest manifest.csv \\
          --store songs.zarr --out evaluation.json
    """
    from stages.evaluate.evaluation import evaluate_heads
    from stages.evaluate.tables import evaluation_table, write_evaluation
    from stages.evaluate.trained_on import read_trained_on
    from stages.head.checkpoint.ensemble import load_heads
    from stages.scoring.files import check_outputs
    from stages.songs import read_manifest

    check_outputs({"--out": out, "--summary": summary}, {"--plots": plots})
    root, listed = find_store(store, receipt), read_manifest(manifest, check_files=False)
    refuse_changed_songs(root, listed.among(split))
    evaluation = evaluate_heads(
        load_heads(checkpoint, device=params["device"]), store=root, manifest=listed, receipt=receipt, split=split,
        allow_missing=params["allow_missing"], draws=bootstrap, raters=raters, trained_on=read_trained_on(checkpoint),
    )  # fmt: skip
    for line in evaluation.notes:
        note_named(line)
    write_evaluation(evaluation, out, summary=summary, plots=plots)
    say_text(evaluation_table(evaluation))


for command in (predict, best_of, compare, stress, leave_out, ablate, push, pull):
    app.command()(command)
