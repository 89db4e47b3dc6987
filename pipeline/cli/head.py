"""`hear-head`: train, evaluate and use heads on stored embeddings."""

from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli.common import DEFAULTS, new_app
from pipeline.cli.head_options import options_from
from pipeline.cli.head_predict import predict
from pipeline.params import HeadParams

app = new_app("head", "Train, evaluate and use HEAR's head on stored embeddings.")

Store = Annotated[
    str | None,
    typer.Option(help="The store of embeddings, a folder or a URL.", show_default="the one that the receipt tells"),
]
ReceiptPath = Annotated[Path | None, typer.Option(help="Refuse a store that is not this receipt's.")]
ManifestPath = Annotated[Path, typer.Option(help="manifest.csv, as hear-data writes it.")]
Checkpoint = Annotated[str, typer.Option(help="A head: a run's folder, or a published .pth or .safetensors file.")]


@app.command()
@options_from(DEFAULTS.head, name="params")
def train(
    manifest: ManifestPath,
    track: Annotated[int, typer.Option(help="1 scores Musicality, 2 all five dimensions.", min=1, max=2)],
    out: Annotated[Path, typer.Option(help="The run's folder; the best head is written there.")],
    params: HeadParams,
    store: Store = None,
    receipt: ReceiptPath = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run that was cut off in --out.")] = False,
) -> None:
    """Train a head; prints its best validation."""
    from pipeline.head_progress import TrainingBar
    from stages.head.recipe import Recipe
    from stages.head.train import train_head
    from stages.songs import read_manifest

    report = train_head(
        store_root=_store(store, receipt),
        manifest=read_manifest(manifest, check_files=False),
        track=track,
        out=out,
        recipe=Recipe(**params.model_dump()),
        receipt=receipt,
        resume=resume,
        listeners=(TrainingBar(),),
    )
    typer.echo(report.line)


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
) -> None:
    """Compare a head's scores with the ratings of one split; prints a table."""
    from stages.evaluate.run import evaluate_heads
    from stages.evaluate.tables import evaluation_table, write_evaluation
    from stages.head.checkpoint import load_heads
    from stages.songs import read_manifest

    evaluation = evaluate_heads(
        load_heads(checkpoint, device=device),
        store_root=_store(store, receipt),
        manifest=read_manifest(manifest, check_files=False),
        receipt=receipt,
        split=split,
        allow_missing=allow_missing,
        draws=bootstrap,
    )
    write_evaluation(evaluation, out, summary=summary, plots=plots)
    typer.echo(evaluation_table(evaluation))


app.command("predict")(predict)


def _store(store: str | None, receipt: Path | None) -> str:
    """The store that is named, or else the receipt's."""
    from store import locate_store

    if store is not None:
        return store
    if receipt is None:
        raise typer.BadParameter("name a store with --store, or its receipt with --receipt")
    return locate_store(receipt)
