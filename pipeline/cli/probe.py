"""`hear-probe`: predict any label from the embeddings."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from pipeline.cli.common import new_app, refuse_changed_songs
from pipeline.cli.options import Bootstrap, Json
from pipeline.cli.pages import Group, option
from pipeline.show.bars import progress
from pipeline.show.output import note, say_json, say_text, write_csv

Store = Annotated[str, option("Input", "Store of embeddings: a folder or a URL.")]
ManifestFile = Annotated[Path | None, option("Input", "manifest.csv; any of its columns can be the target.")]
LabelsFile = Annotated[
    Path | None, option("Input", "CSV with song_id and label columns, instead of or in addition to the manifest.")
]
Target = Annotated[str, option("Input", "Column to predict.")]
ModelName = Annotated[
    Literal["ridge", "svr", "knn", "logistic", "linear-svm"],
    option("Model", "ridge, svr or knn for numbers; logistic, linear-svm or knn for classes."),
]
TaskName = Annotated[
    Literal["regression", "classification"] | None,
    option("Model", "Task of knn; if not given, regression if all values are numbers."),
]
Streams = Annotated[
    list[str] | None,
    option("Input", "Streams, encoders, scales or layers, comma-separated or repeated; all if not given."),
]
PoolingName = Annotated[Literal["mean", "std", "both"], option("Model", "Statistics over a song's frames.")]
Folds = Annotated[int, option("Evaluation", "Cross-validation folds: at least 3, or 2 with --setting.", min=2)]
GroupColumn = Annotated[str | None, option("Evaluation", "Column of groups; all songs of a group are in one fold.")]
Sweep = Annotated[
    Literal["streams"] | None, option("Evaluation", "Compare each stream, encoder and scale over the same folds.")
]
Augmented = Annotated[bool, option("Training", "Also train on augmented views; clean views are scored.", "--augmented")]
Setting = Annotated[
    float | None,
    option("Model", "Hyperparameter of the model (alpha, C or neighbours); if not given, chosen by inner folds."),
]
# scikit-learn's generators take 32 bits.
Seed = Annotated[int, option("Evaluation", "Seed of the folds and of the bootstrap.", min=0, max=2**32 - 1)]
MemoryLimit = Annotated[
    str,
    option("Machine", "Memory for fitting, such as 4GB; larger features are read in passes. auto: half of the memory."),
]
Out = Annotated[Path | None, option("Output", "Folder for the probe, predictions.csv and the plots.")]


class FitByDefault(Group):
    """`hear-probe --store … --target …` is `hear-probe fit --store … --target …`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put `fit` before options that are not the group's own."""
        own = {name for param in self.get_params(ctx) for name in param.opts}
        if args and args[0].startswith("-") and args[0] not in own:
            args = ["fit", *args]
        return super().parse_args(ctx, args)


app = new_app("probe", "Fit probes on stored embeddings, and apply them. The default command is fit.")
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
    group: GroupColumn = None,
    sweep: Sweep = None,
    augmented: Augmented = False,
    setting: Setting = None,
    seed: Seed = 0,
    bootstrap: Bootstrap = 1000,
    memory_limit: MemoryLimit = "auto",
    out: Out = None,
    as_json: Json = False,
) -> None:
    """Cross-validate a probe on a column and compare it with the baseline; with --out, save it.

    Example:
      hear-probe fit --store songs.zarr --manifest manifest.csv \\
          --target Musicality --model ridge
    """
    from stages.probe.config import ProbeConfig
    from stages.probe.fit import fit_probe

    _check_inputs(store, manifest, labels)
    chosen = tuple(name.strip() for part in streams or () for name in part.split(",") if name.strip())
    config = ProbeConfig(
        target=target, model=model, task=task, group=group, streams=chosen, pooling=pooling, cv=cv, seed=seed,
        augmented=augmented, setting=setting, draws=bootstrap,
    )  # fmt: skip
    report = fit_probe(
        store, config, manifest=manifest, labels=labels, sweep=sweep, memory_limit=memory_limit, out=out,
        progress=progress("pool"),
    )  # fmt: skip
    say_json(report.to_json(), indent=2) if as_json else say_text(report.to_text())


def _check_inputs(store: str, manifest: Path | None, labels: Path | None) -> None:
    """Refuse to fit without a file of labels, or on songs that have changed since they were extracted."""
    from stages.songs import read_manifest

    if manifest is None and labels is None:
        raise typer.BadParameter("give a file with the column: --manifest, --labels or both")
    if manifest is not None:
        refuse_changed_songs(store, read_manifest(manifest, check_files=False).songs)


@app.command()
def apply(
    probe: Annotated[Path, typer.Argument(help="Folder of a saved probe.")],
    store: Store,
    as_json: Json = False,
) -> None:
    """Print a saved probe's prediction for each song of another store, as CSV.

    The exit code is 1 if a song has no clean view.

    Example:
      hear-probe apply probes/musicality --store other.zarr
    """
    from stages.probe.apply import apply_probe

    applied = apply_probe(probe, store, progress=progress("pool"))
    if as_json:
        say_json(applied.to_json(), indent=2)
    else:
        write_csv(applied.to_csv())
    note(applied.summary())
    if applied.without_clean_view:
        raise typer.Exit(1)
