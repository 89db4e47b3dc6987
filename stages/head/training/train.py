"""Train a head: from a store, a manifest and a config to a run folder with the best head."""

from collections.abc import Callable, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from stages.common.device import choose_device, choose_precision, repeatable
from stages.common.provenance import read_provenance
from stages.head.checkpoint.head import Head, HeadConfig, score_packed
from stages.head.checkpoint.layout import METRICS_FILE, PREDICTIONS
from stages.head.checkpoint.metrics_file import read_metrics
from stages.head.checkpoint.novelty import learn_novelty
from stages.head.checkpoint.saved import save_head
from stages.head.config import TrainConfig
from stages.head.data.epoch_plan import Item, plan_epoch
from stages.head.data.reader import Reader
from stages.head.data.records import Records
from stages.head.data.resident import Resident, choose_resident, held_type, in_rounds, partner_views
from stages.head.data.splits import Data, open_data
from stages.head.errors import HeadError
from stages.head.files import write_json
from stages.head.model.architectures import make_model, make_sizes
from stages.head.tracks import TRACK_DIMENSIONS
from stages.head.training.checks import check_records, describe_data, describe_resident
from stages.head.training.footprint import gigabytes_to_hold
from stages.head.training.history import Listener
from stages.head.training.report import TrainReport, read_report
from stages.head.training.run_folder import RESIDENT_RECORDS, RunFolder, write_predictions
from stages.head.training.step import Objective
from stages.head.training.trainer import Hooks, Trainer
from stages.metrics.agreement import Metrics, score_metrics
from stages.songs import Manifest
from stages.songs.manifest_file import as_manifest
from store import EmbeddingStore


def train_head(
    store: EmbeddingStore | str | Path,
    manifest: Manifest | str | Path,
    *,
    track: int,
    out: str | Path,
    config: TrainConfig | None = None,
    receipt: str | Path | None = None,
    resume: bool = False,
    listeners: Sequence[Listener] = (),
) -> TrainReport:
    """Train one head on stored embeddings.

    Parameters
    ----------
    store
        The embeddings: a store, or its folder or URL.
    manifest
        Songs with ratings, in the splits `train` and `val`: a manifest, or its file.
    track
        1 scores Musicality, 2 all five dimensions.
    out
        A folder for the best head and the figures of the run. An existing run in it is replaced.
    config
        Every choice of the run; the paper's values if not given.
    receipt
        Refuse a store that does not match this receipt.
    resume
        Continue an interrupted run in `out`, and keep a complete one; start a run if there is none.
    listeners
        Called at each step and validation, for instance to show progress.

    Returns
    -------
    TrainReport
        The best validation and the folder of the head, which `load_head` and `Scorer.load` take.

    Raises
    ------
    HeadError
        The track is unknown, songs or streams are missing, a record cannot be used, the config cannot run here, the
        loss stops being finite, or the run to resume has other settings.
    StoreError
        The store does not match the receipt, or cannot be read.
    SongsError
        The manifest cannot be read, or a split has no songs, or none with ratings.

    Examples
    --------
    >>> import hear_music as hear
    >>> config = hear.TrainConfig(size="small", epochs=2, device="cpu")
    >>> report = hear.train("embeddings.zarr", "manifest.csv", track=2, out="models/mine", config=config)
    >>> report.songs, report.best.epoch in (0, 1)
    (6, True)
    >>> head = hear.load_head(report.folder)
    """
    if track not in TRACK_DIMENSIONS:
        raise HeadError(f"track: expected {' or '.join(map(str, TRACK_DIMENSIONS))}, found {track!r}")
    config = config or TrainConfig()
    where = Path(receipt) if receipt is not None else None
    data = open_data(store, as_manifest(manifest), track=track, config=config, receipt=where)
    return train_on(data, track=track, out=Path(out), config=config, resume=resume, listeners=listeners)


def run_params(data: Data, *, track: int, config: TrainConfig) -> dict[str, Any]:
    """The content of params.json: the config as resolved for this data, and digests of the data."""
    resolved = {"beta": config.track_beta(track), "streams": list(data.streams), "data": data.digest()}
    resolved["labels"] = data.ratings().digests()
    resolved[RESIDENT_RECORDS] = None
    if config.resident != "stored" and config.memory is not None:
        resolved[RESIDENT_RECORDS] = choose_resident(data, config, gigabytes=config.memory).train
    return {"track": track, **config.to_json(), **resolved}


def train_on(
    data: Data,
    *,
    track: int,
    out: Path,
    config: TrainConfig,
    resume: bool = False,
    listeners: Sequence[Listener] = (),
    say: Callable[[str], None] = lambda line: None,
) -> TrainReport:
    """As `train_head`, on data opened for this track and config.

    Once the run can begin, `say` is called with each sentence of `describe_data`.
    """
    device = choose_device(config.device)
    folder, params, stored = RunFolder(out), run_params(data, track=track, config=config), data.store.receipt()
    resuming = resume and folder.can_resume(params, stored, data.ratings())
    if resuming and folder.is_complete:
        return read_report(out)
    resident = choose_resident(data, config, gigabytes=gigabytes_to_hold(data, config, device))
    if config.resident != "stored":
        if resuming:
            begun_with = folder.resident_records()
            resident = Resident(begun_with, resident.val and begun_with <= resident.train)
        params[RESIDENT_RECORDS] = resident.train
    with repeatable(config.seed, device):
        run = _Run(data, config, folder, track=track, device=device, resident=resident, listeners=listeners)
        check_records(data, run.val_reader)
        # Only now: an older run must not be lost for a run that cannot start.
        if resuming:
            folder.restore(run.trainer)
        else:
            folder.start(params, stored, data.ratings(), device)
        for note in (*describe_data(data, config), *describe_resident(data, config, resident)):
            say(note)
        report = run.complete()
    # Before the run is marked as complete.
    learn_novelty(out, data.store, data.train.songs, data.streams, seed=config.seed)
    folder.finish(report.to_json())
    return report


def check_startable(data: Data, config: TrainConfig) -> None:
    """Check that `train_on` can start, before an older run is removed for it.

    Raises
    ------
    HeadError
        The config's head cannot be built for this data, or a record cannot be used.
    DeviceError
        There is no such device.
    """
    choose_device(config.device)
    sizes = make_sizes(config.architecture, config.size, features=data.features, classes=len(data.dimensions))
    with torch.device("meta"):
        make_model(sizes)
    check_records(data, Reader(Records(data.store, streams=data.streams, stride=sizes.stride), workers=config.workers))


class _Run:
    """Connects the parts of one training run."""

    def __init__(
        self,
        data: Data,
        config: TrainConfig,
        folder: RunFolder,
        *,
        track: int,
        device: torch.device,
        resident: Resident,
        listeners: Sequence[Listener],
    ) -> None:
        self.begun = perf_counter()
        self.data, self.config, self.folder, self.listeners = data, config, folder, listeners
        sizes = make_sizes(config.architecture, config.size, features=data.features, classes=len(data.dimensions))
        self.head_config = HeadConfig(
            sizes=sizes,
            dimensions=data.dimensions,
            streams=data.streams,
            spec=data.store.spec.to_json(),
            encoders_from=read_provenance(data.store.encoders_from, data.store.root),
        )
        reader, self.val_reader = _readers(data, config, resident, stride=sizes.stride, device=device)
        drawn = None if config.resident == "stored" else partner_views(data.train, resident.train)
        self.trainer = Trainer(
            make_model(sizes).to(device),
            config,
            Objective(beta=config.track_beta(track), smooth_l1_beta=config.smooth_l1_beta, mix=config.mix),
            precision=choose_precision(config.precision, device, width=sizes.attended),
            reader=reader,
            hooks=Hooks(
                plan=lambda epoch: plan_epoch(data.train, config, epoch=epoch, partner_views=drawn),
                evaluate=self.evaluate,
                improved=self.improved,
                checkpoint=lambda: folder.save(self.trainer),
                listeners=listeners,
            ),
        )
        self.predicted: NDArray[np.float32] = np.empty((0, sizes.classes), np.float32)

    def complete(self) -> TrainReport:
        for listener in self.listeners:
            listener.begin(steps=self._total_steps(), done=self.trainer.state.step)
        try:
            self.trainer.run()
        finally:
            for listener in self.listeners:
                listener.end()
        return self._report()

    def evaluate(self) -> Metrics:
        """Score the validation songs one by one: memory is bounded by the longest."""
        items = [(Item(song, 0, 0.0),) for song in self.data.val.songs]
        self.predicted = np.concatenate(
            [score_packed(self.trainer.model, packed) for packed in self.val_reader.read(items)]
        )
        return score_metrics(self.data.val.ratings, self.predicted, dimensions=self.data.dimensions)

    def improved(self, metrics: Metrics) -> None:
        """Save the head, its metrics and its scores."""
        path = self.folder.path
        save_head(path, Head(self.trainer.model, self.head_config))
        self.trainer.model.train()
        write_json(path / METRICS_FILE, metrics)
        write_predictions(path / PREDICTIONS, self.data.val, self.predicted, dimensions=self.data.dimensions)

    def _total_steps(self) -> int:
        batches = len(plan_epoch(self.data.train, self.config, epoch=0))
        return self.config.epochs * -(-batches // self.config.accumulate)

    def _report(self) -> TrainReport:
        state = self.trainer.state
        seconds = sum(row.seconds for row in state.steps)
        return TrainReport(
            folder=self.folder.path,
            metrics=read_metrics(self.folder.path / METRICS_FILE),
            best=[row for row in state.evaluations if row.best][-1],
            steps=state.step,
            songs=len(self.data.train.songs),
            records=len(self.data.train.records()),
            missing=self.data.train.missing + self.data.val.missing,
            validations=len(state.evaluations),
            unrated=self.data.train.unrated + self.data.val.unrated,
            notes=tuple(describe_data(self.data, self.config)),
            seconds=perf_counter() - self.begun,
            waiting=sum(row.seconds * row.waiting for row in state.steps) / max(seconds, 1e-9),
        )


def _readers(
    data: Data, config: TrainConfig, resident: Resident, *, stride: int, device: torch.device
) -> tuple[Reader, Reader]:
    """A reader of cropped training songs, and one of whole validation songs, whose scores need the stored values."""
    crop = max(1, int(config.crop * data.store.frame_rate) // stride)
    cropped, whole = (Records(data.store, streams=data.streams, stride=stride, crop=most) for most in (crop, None))
    held, validated = in_rounds(data.train)[: resident.train], data.val.records() if resident.val else ()
    return (
        Reader(cropped, workers=config.workers, device=device, held=held, held_as=held_type(data, config)),
        Reader(whole, workers=config.workers, device=device, held=validated),
    )
