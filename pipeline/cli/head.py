"""`hear-head`: train, evaluate and use heads on stored embeddings."""

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli.common import DEFAULTS, new_app, params_option, refuse_changed_songs
from pipeline.cli.head_ablate import ablate
from pipeline.cli.head_hub import pull, push
from pipeline.cli.head_inputs import ManifestPath, ReceiptPath, Store, Track, named_store
from pipeline.cli.head_options import options_from
from pipeline.cli.head_predict import predict
from pipeline.params import HeadParams
from pipeline.show.output import note, say_table

app = new_app("head", "Train, evaluate and use HEAR's head on stored embeddings.")

Checkpoint = Annotated[
    str, typer.Option(help="A head: a run's folder, a published .pth or .safetensors file, or a hub id.")
]


@app.command()
@options_from(DEFAULTS.head, name="params")
def train(
    manifest: ManifestPath,
    track: Track,
    out: Annotated[Path, typer.Option(help="The run's folder; the best head is written there.")],
    params: HeadParams,
    store: Store = None,
    receipt: ReceiptPath = None,
    seeds: Annotated[
        int, typer.Option(help="Heads to train, each with the seed after the last one's; they score as one.", min=1)
    ] = 1,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the run that was cut off in --out; a complete one stays.")
    ] = False,
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Write curves for TensorBoard, too, into --out/tensorboard.")
    ] = False,
    params_file: Annotated[Path | None, params_option("head")] = None,
) -> None:
    """Train a head, or one a seed; prints its best validation, or their mean ± standard deviation."""
    from pipeline.show.training_bars import listeners_of
    from stages.head.config import TrainConfig
    from stages.head.training.runs import Job
    from stages.head.training.seeds import train_seeds
    from stages.head.training.train import train_on
    from stages.songs import read_manifest

    config = TrainConfig(**params.model_dump())
    job = Job(
        name=f"track {track}",
        store_root=named_store(store, receipt),
        manifest=read_manifest(manifest, check_files=False),
        track=track,
        out=out,
        config=config,
        receipt=receipt,
    )
    refuse_changed_songs(job.store_root, job.manifest.among("train", "val"))
    listeners = partial(listeners_of, tensorboard=tensorboard)
    if seeds == 1:
        report = train_on(
            job.open(), track=track, out=out, config=config, resume=resume, listeners=listeners(job), say=_note
        )
        said = report.line
    else:
        said = train_seeds(job, seeds=seeds, resume=resume, listeners=listeners, say=_note).table
    say_table(said)


@app.command()
def evaluate(
    checkpoint: Checkpoint,
    manifest: ManifestPath,
    out: Annotated[Path, typer.Option(help="Metrics as JSON.")],
    store: Store = None,
    receipt: ReceiptPath = None,
    split: Annotated[str, typer.Option(help="train, val or test.")] = "val",
    summary: Annotated[Path | None, typer.Option(help="Four means as flat JSON, for dvc's tables.")] = None,
    plots: Annotated[Path | None, typer.Option(help="Folder for tables and plots.")] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1, or auto.")] = DEFAULTS.head.device,
    allow_missing: Annotated[
        int, typer.Option(help="Songs of the split that the store may lack.", min=0)
    ] = DEFAULTS.head.allow_missing,
    bootstrap: Annotated[int, typer.Option(help="Samples drawn for the 95 % intervals.", min=10)] = 1000,
    params_file: Annotated[Path | None, params_option("head")] = None,
) -> None:
    """Compare a head's scores with the ratings of one split; prints a table."""
    from stages.evaluate.evaluation import evaluate_heads
    from stages.evaluate.tables import evaluation_table, write_evaluation
    from stages.evaluate.trained_on import read_trained_on
    from stages.head.checkpoint.members import load_heads
    from stages.scoring.files import check_outputs
    from stages.songs import read_manifest

    check_outputs({"--out": out, "--summary": summary}, {"--plots": plots})
    root, listed = named_store(store, receipt), read_manifest(manifest, check_files=False)
    refuse_changed_songs(root, listed.among(split))
    evaluation = evaluate_heads(
        load_heads(checkpoint, device=device),
        store=root,
        manifest=listed,
        receipt=receipt,
        split=split,
        allow_missing=allow_missing,
        draws=bootstrap,
        trained_on=read_trained_on(checkpoint),
    )
    for line in evaluation.notes:
        _note(line)
    write_evaluation(evaluation, out, summary=summary, plots=plots)
    say_table(evaluation_table(evaluation))


def _note(line: str) -> None:
    note(f"hear-head: {line}")


app.command("predict")(predict)
app.command("ablate")(ablate)
app.command("push")(push)
app.command("pull")(pull)
