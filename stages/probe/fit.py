"""Fit a cross-validated probe on a store and a column of labels, and save it with its plots."""

import io
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Literal

from stages.common.csv_text import write_rows
from stages.probe.config import ProbeConfig
from stages.probe.data.features import open_features
from stages.probe.data.folds import usable_settings
from stages.probe.data.labels import read_labels
from stages.probe.data.sample import Sample, draw_sample
from stages.probe.data.streams import select_streams, stream_columns, stream_sets
from stages.probe.errors import ProbeError
from stages.probe.models.crossvalidation import OutOfFold, cross_validate, fit_final
from stages.probe.models.fitting import Design, Fitter, InMemory
from stages.probe.models.predictors import Array, Predictor
from stages.probe.models.registry import MODELS, Model, choose_task
from stages.probe.plots import draw
from stages.probe.report import ProbeReport, SweepRow
from stages.probe.saved import ABOUT, ARRAYS, Probe, put
from stages.probe.scores import ProbeScores, score
from stages.songs import Manifest
from store import EmbeddingStore, open_store
from store.files.replacing import write_errors
from store.progress import Progress

PREDICTIONS = "predictions.csv"
_WRITTEN = (ABOUT, ARRAYS, PREDICTIONS, "confusion.png", "scatter.png", "sweep.png")


def fit_probe(
    store: EmbeddingStore | str | Path,
    config: ProbeConfig,
    *,
    manifest: Manifest | str | Path | None = None,
    labels: str | Path | None = None,
    sweep: Literal["streams"] | None = None,
    memory_limit: str = "auto",
    out: str | Path | None = None,
    progress: Progress = iter,
) -> ProbeReport:
    """Fit a probe on stored embeddings, and measure it by cross-validation on songs that it was not fitted on.

    Parameters
    ----------
    store
        The embeddings: a store, or its folder or URL.
    config
        The probe's settings: column to predict, streams, model and others.
    manifest, labels
        Source of the columns: a manifest (or its file), a table with `song_id`, or both.
    sweep
        `streams` also compares each stream, encoder, scale and layer over the same folds.
    memory_limit
        Memory for the fit, such as `4GB`; `auto` for half the machine's. Larger features are read in passes.
    out
        A folder for the probe, `predictions.csv` and the plots; None to write nothing.
    progress
        Wraps the iterable of records to read, for example in a progress bar.

    Returns
    -------
    ProbeReport
        Metrics with intervals, compared with a baseline, and each song's out-of-fold prediction.

    Raises
    ------
    ProbeError
        The settings do not fit the data: see `choose_task`, `draw_sample`, `select_streams`, `usable_settings` and
        `open_features`. Or `out` cannot be written.
    StoreError, SongsError
        The store, the manifest or the table cannot be read.

    Examples
    --------
    >>> import hear_music as hear
    >>> config = hear.ProbeConfig(target="Clarity", model="ridge", cv=4)
    >>> report = hear.probe("embeddings.zarr", config, manifest="manifest.csv", out="probes/clarity")
    >>> print(report.to_text())
    Clarity: regression by ridge ...
    """
    store, out = open_store(store), Path(out) if out is not None else None
    table = read_labels(manifest=manifest, labels=labels)
    task = choose_task(table.column(config.target), target=config.target, model=config.model, task=config.task)
    sample = draw_sample(table, config, task, views={song: store.views(song) for song in store.songs})
    streams = select_streams(store.streams, config.streams)
    sets = _sets(streams) if sweep else {}
    if out is not None:
        _make_folder(out)
    with open_features(
        store, sample.songs, config, streams=streams, memory_limit=memory_limit, progress=progress
    ) as whole:
        settings = usable_settings(MODELS[config.model], sample.folds[whole.song], config.setting)
        fitter = make_fitter(whole, sample, model=MODELS[config.model])
        found = cross_validate(fitter, sample.labels, sample.folds, settings)
        predictor = fit_final(fitter, found.final) if out is not None else None
        predicted, scores = _judge(found, sample, config)
        rows = _sweep(whole, sample, config, streams, sets, settings, {streams: scores})
        report = ProbeReport(
            config=config, task=task, streams=streams, chosen=found.final, chosen_by_fold=found.settings,
            sample=sample, predicted=predicted, scores=scores, rows=len(whole.song), features=int(whole.x.shape[1]),
            out_of_core=whole.out_of_core, sweep=rows,
        )  # fmt: skip
    if out is not None and predictor is not None:
        _write(out, report, store, predictor)
    return report


def make_fitter(design: Design, sample: Sample, *, model: Model) -> Fitter:
    """A fitter for the features: in memory for a numpy array, in passes for a dask array."""
    shared = (design, sample.labels, sample.folds)
    if not design.out_of_core:
        return InMemory(*shared, model=model, classes=len(sample.classes))
    from stages.probe.models.gradients import Gradients
    from stages.probe.models.out_of_core import NormalEquations

    if model.name == "ridge":
        return NormalEquations(*shared)
    return Gradients(*shared, classes=len(sample.classes), margin=model.scores == "margin")


def _sets(streams: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    if len(streams) == 1:
        raise ProbeError(f"sweep: only stream {streams[0]!r} is chosen; there is nothing to compare")
    return stream_sets(streams)


def _judge(found: OutOfFold, sample: Sample, config: ProbeConfig) -> tuple[Array, ProbeScores]:
    """Out-of-fold predictions and their scores."""
    classes = len(sample.classes)
    predicted = found.scores.argmax(axis=1).astype(float) if classes else found.scores[:, 0]
    scores = score(sample.labels, predicted, sample.groups, classes=classes, draws=config.draws, seed=config.seed)
    return predicted, scores


def _sweep(
    whole: Design, sample: Sample, config: ProbeConfig, streams: tuple[str, ...], sets: Mapping[str, tuple[str, ...]],
    settings: tuple[float, ...], known: Mapping[tuple[str, ...], ProbeScores],
) -> tuple[SweepRow, ...]:  # fmt: skip
    """Results for each set of streams over the same folds, the best first."""
    rows = []
    for name, chosen in sets.items():
        scores = known.get(chosen)
        if scores is None:
            part = whole.of_columns(stream_columns(streams, chosen, whole.x.shape[1] // len(streams)))
            fitter = make_fitter(part, sample, model=MODELS[config.model])
            scores = _judge(cross_validate(fitter, sample.labels, sample.folds, settings), sample, config)[1]
        rows.append(SweepRow(name, chosen, scores.probe[scores.headline], scores.gain))
    return tuple(sorted(rows, key=lambda row: -row.value.value))


def _write(out: Path, report: ProbeReport, store: EmbeddingStore, predictor: Predictor) -> None:
    """Write the probe last, so that a folder with a probe is complete and has no plots of an earlier one."""
    config, sample = report.config, report.sample
    summary = {
        "songs": len(sample.songs),
        "group": config.group,
        "cv": config.cv,
        "left_out": {reason: len(songs) for reason, songs in sample.left_out.items()},
        "scores": asdict(report.scores),
    }
    with write_errors(out, ProbeError):
        for name in _WRITTEN:
            (out / name).unlink(missing_ok=True)
        put(out / PREDICTIONS, _csv(report).encode())
        draw(report, out)
    Probe(
        target=config.target, task=report.task, model=config.model, setting=report.chosen, streams=report.streams,
        pooling=config.pooling, classes=sample.classes, spec=store.spec, predictor=predictor, report=summary,
    ).save(out)  # fmt: skip


def _make_folder(out: Path) -> None:
    """Make the folder before minutes of work, which would be lost if it cannot be made."""
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ProbeError(f"{out}: cannot be created: {error.strerror}; choose another folder") from error


def _csv(report: ProbeReport) -> str:
    text = io.StringIO()
    columns = ("song_id", "truth", "predicted", "fold")
    write_rows(text, [columns, *([row[name] for name in columns] for row in report.predictions())])
    return text.getvalue()
