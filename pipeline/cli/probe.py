"""`hear-probe`: what do the embeddings say of any label?"""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from typer.core import TyperGroup

from pipeline.cli.common import new_app, refuse_changed_songs
from pipeline.show.bars import bar
from pipeline.show.output import note, say_json, say_table, write_csv

Store = Annotated[str, typer.Option(help="The store: a folder or a URL.")]
ManifestFile = Annotated[Path | None, typer.Option(help="A manifest; any of its columns is a label.")]
LabelsFile = Annotated[
    Path | None, typer.Option(help="A CSV with song_id and columns of labels, instead of or beside the manifest.")
]
Target = Annotated[str, typer.Option(help="The column to predict.")]
ModelName = Annotated[
    Literal["ridge", "svr", "knn", "logistic", "linear-svm"],
    typer.Option(help="ridge, svr, knn for numbers; logistic, linear-svm, knn for classes."),
]
TaskName = Annotated[
    Literal["regression", "classification"] | None,
    typer.Option(help="For knn: take the column as numbers or as classes; without it, numbers where all values are."),
]
Streams = Annotated[
    list[str] | None,
    typer.Option(help="Streams, encoders, scales or layers, separated by commas or repeated; without it, all."),
]
PoolingName = Annotated[Literal["mean", "std", "both"], typer.Option(help="Statistics over a song's frames.")]
Folds = Annotated[int, typer.Option(help="Folds of the cross-validation; with --setting 2 will do, else 3.", min=2)]
Group = Annotated[str | None, typer.Option(help="A column whose groups of songs never straddle a split.")]
Sweep = Annotated[
    Literal["streams"] | None, typer.Option(help="Compare each stream, encoder and scale, over the same folds.")
]
Augmented = Annotated[bool, typer.Option("--augmented", help="Train on augmented views too; scores are of clean ones.")]
Setting = Annotated[
    float | None,
    typer.Option(help="The model's hyperparameter (alpha, C or neighbours); without it, chosen by inner folds."),
]
# scikit-learn's generators take 32 bits.
Seed = Annotated[int, typer.Option(help="Seed of the folds and of the bootstrap.", min=0, max=2**32 - 1)]
Bootstrap = Annotated[int, typer.Option(help="Samples drawn for the 95 % intervals.", min=10)]
MemoryLimit = Annotated[
    str,
    typer.Option(
        help="What the fit may take, such as 4GB; above it the features are read in passes. auto: half of the memory."
    ),
]
Out = Annotated[Path | None, typer.Option(help="Folder for the probe, predictions.csv and the plots.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, with each song's prediction, instead of a table.")]


class FitByDefault(TyperGroup):
    """`hear-probe --store … --target …` is `hear-probe fit --store … --target …`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put `fit` before options that are not the group's own."""
        if args and args[0].startswith("-") and args[0] not in ("--help", "--version"):
            args = ["fit", *args]
        return super().parse_args(ctx, args)


app = new_app("probe", "Fit probes on stored embeddings, and apply them. Without a command: fit, see fit --help.")
app.info.cls = FitByDefault


@app.command()
def fit(
    store: Store,
    target: Target,
    model: ModelName,
    manifest: ManifestFile = None,
    labels: LabelsFile = None,
    task: TaskName = None,
    streams: Streams = None,
    pooling: PoolingName = "mean",
    cv: Folds = 5,
    group: Group = None,
    sweep: Sweep = None,
    augmented: Augmented = False,
    setting: Setting = None,
    seed: Seed = 0,
    bootstrap: Bootstrap = 1000,
    memory_limit: MemoryLimit = "auto",
    out: Out = None,
    as_json: AsJson = False,
) -> None:
    """Cross-validate a probe on a column, beside the baseline; with --out, save it."""
    from stages.probe import ProbeConfig, fit_probe
    from stages.songs import read_manifest

    if manifest is None and labels is None:
        raise typer.BadParameter("give the file with the column: --manifest, --labels or both")
    if manifest is not None:
        refuse_changed_songs(store, read_manifest(manifest, check_files=False).songs)
    chosen = tuple(name.strip() for part in streams or () for name in part.split(",") if name.strip())
    question = ProbeConfig(
        target=target, model=model, task=task, group=group, streams=chosen, pooling=pooling, cv=cv, seed=seed,
        augmented=augmented, setting=setting, draws=bootstrap,
    )  # fmt: skip
    report = fit_probe(
        store,
        question,
        manifest=manifest,
        labels=labels,
        sweep=sweep,
        memory_limit=memory_limit,
        out=out,
        progress=bar("pool"),
    )
    if as_json:
        say_json(report.to_json(), indent=2)
    else:
        say_table(report.to_text())


@app.command()
def apply(
    probe: Annotated[Path, typer.Argument(help="The folder of a saved probe.")],
    store: Store,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of CSV.")] = False,
) -> None:
    """Print what a saved probe says of each song of another store, as CSV; exits 1 if a song has no clean view."""
    from stages.probe import apply_probe

    applied = apply_probe(probe, store, progress=bar("pool"))
    if as_json:
        say_json(applied.to_json(), indent=2)
    else:
        write_csv(applied.to_csv())
    note(applied.summary())
    if applied.without_clean_view:
        raise typer.Exit(1)
