"""A run of stage one from manifest to receipt: plan, refuse or go, extract, and say what was done."""

import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from pipeline.show.bars import ExtractionProgress, bar
from stages.common.provenance import provenance_to_json
from stages.extract.config import ExtractConfig
from stages.extract.estimate import Estimate, calibrate, estimate
from stages.extract.freshness import Freshness, remember_hashes, stored_freshness
from stages.extract.plan import Plan, plan_extraction
from stages.extract.run import Extractor, Outcome, Tally
from stages.extract.views.feed import ViewFeed
from stages.songs import read_manifest
from stages.songs.errors import printable
from store import EmbeddingStore, Spec, StoreWriter, index, is_indexed, write_receipt
from store.errors import HearError, StoreError, StoreNotFoundError
from store.files.replacing import is_device
from store.files.visible import to_json
from store.upkeep.info import record_bytes

if TYPE_CHECKING:
    from stages.extract.encoders import MultiScale

# Songs without their files that are named one by one.
MISSING_NAMED = 20


@dataclass(frozen=True, kw_only=True)
class ExtractionOptions:
    """How a run behaves; none of these changes a number that is stored.

    `readers` processes decode and augment ahead of each encoder; `workers` and `scheduler` choose Dask; more than
    `max_failures` failed views stop the run; `force` goes on without space for everything.
    """

    readers: int = 1
    workers: int = 0
    scheduler: str = ""
    max_failures: int | None = None
    force: bool = False


@dataclass(frozen=True)
class ExtractionSummary:
    """What a run did: its tally, records that were there before, views left to do, and why it ended early, if so.

    `changed` counts the songs with another file than before, of which `again` were made again whole; `missing` counts
    stored songs whose files cannot be compared.
    """

    tally: Tally
    skipped: int
    left: int
    stopped: str
    changed: int = 0
    again: int = 0
    missing: int = 0

    @property
    def line(self) -> str:
        """The line of counts that the command prints."""
        tally = self.tally
        counts = f"{tally.done} done, {self.skipped} skipped, {len(tally.failures)} failed"
        if tally.damaged:
            counts += f", {len(tally.damaged)} song{'' if len(tally.damaged) == 1 else 's'} damaged"
        if self.changed:
            counts += f", {self.again} changed song{'' if self.again == 1 else 's'} made again"
        if self.missing:
            counts += f", {self.missing} source{'' if self.missing == 1 else 's'} missing"
        if not tally.encoding:
            return counts
        return (
            f"{counts}; {tally.audio / 3600:.2f} h of audio at {tally.audio / tally.elapsed:.1f}× real time; "
            f"encoders waited for input {100 * tally.idle:.0f} % of the time"
        )


def plan_run(manifest: Path, store: str, spec: Spec, *, augment: int) -> Plan:
    """Read the manifest and compare it, and the songs' files, with the store, which need not exist and is not made.

    Raises
    ------
    HearError
        The manifest has an error, the store was made with another spec, or one of its records is damaged.
    """
    songs = read_manifest(manifest, check_files=False).songs
    try:
        found = EmbeddingStore.open(store, expect=spec)
    except StoreNotFoundError:
        return plan_extraction(songs, augment=augment, rows={}, sources=Freshness())
    sources = stored_freshness(found, songs, progress=bar("files hashed"))
    return plan_extraction(songs, augment=augment, rows=found.rows, sources=sources)


def dry_run(
    manifest: Path, store: str, config: ExtractConfig, *, augment: int, readers: int = 1
) -> dict[str, float | int | str | None]:
    """Tell what a run would cost, and change nothing.

    Returns
    -------
    dict
        songs, views (to make), stored (views that are there), changed (songs whose stored views are of another file,
        and are made again), missing (stored songs whose files cannot be compared), hours (of audio to encode, counted
        in the files), bytes,
        free (None: unknown), unreadable, speed (× real time on this machine, one process), hours_to_go.

    Raises
    ------
    HearError
        The manifest has an error, the weights cannot be had, or the store was made with another spec.
    """
    encoders = config.load_encoders()
    spec = config.spec(encoders)
    plan = plan_run(manifest, store, spec, augment=augment)
    cost = _cost(plan, spec, store, readers)
    speed = calibrate(encoders) if plan.tasks else 0.0
    return {
        "songs": cost.songs,
        "views": cost.views,
        "stored": plan.stored,
        "changed": len(plan.sources.changed),
        "missing": len(plan.sources.missing),
        "hours": round(cost.hours, 3),
        "bytes": cost.bytes,
        "free": cost.free,
        "unreadable": cost.unreadable,
        "speed": round(speed, 2),
        "hours_to_go": round(cost.hours / speed, 3) if speed else 0.0,
    }


def _cost(plan: Plan, spec: Spec, store: str, readers: int) -> Estimate:
    return estimate(
        plan.tasks,
        streams=len(spec.streams),
        channels=spec.channels,
        dtype=spec.dtype,
        pool=spec.pool,
        frame_rate=spec.frame_rate,
        root=store,
        processes=readers,
        progress=bar("lengths"),
        replaced=record_bytes(spec, plan.replaced_frames),
    )


def run_extraction(
    manifest: Path, store: str, config: ExtractConfig, *, augment: int, receipt: Path | None, options: ExtractionOptions
) -> ExtractionSummary:
    """Extract what the store lacks, then write the receipt.

    Songs whose files have changed are made again, each record replaced once its new one is there. Where that fails, the
    old record stays, no receipt is written, and the next run tries again. Ctrl-C and SIGTERM end the run after the
    views in hand; whatever is stored stays, and a second run goes on.

    Raises
    ------
    HearError
        Nothing can be done: the manifest, the weights, the spec, the space or the store.
    """
    encoders = config.load_encoders()
    spec = config.spec(encoders)
    plan = plan_run(manifest, store, spec, augment=augment)
    _check_space(_cost(plan, spec, store, options.readers), force=options.force)
    # Not before the check: its advice is another spec, which a store that is there would refuse.
    writer = StoreWriter.open(store, spec, encoders_from=provenance_to_json(encoders.provenance))
    remember_hashes(writer.root, plan.sources.hashed)
    stop = threading.Event()
    watch = _Watch(plan, stop, options.max_failures)
    with (
        _interrupts(stop),
        _failures_file(writer.root) as failures,
        ExtractionProgress(plan.records) as progress,
    ):
        _name_missing(plan.sources.missing, progress.say)
        report = watch.hearing(progress, failures)
        tally = _extract(plan, writer, encoders, config, options, report=report, say=progress.say, stop=stop)
    left = plan.records - tally.done - len(tally.failures)
    _index(store, changed=bool(tally.done))
    changed, again = len(plan.sources.changed), watch.made_again
    # What a receipt stands for is of the songs as they are; records of what they were may still be there.
    if receipt is not None and not left and again == changed:
        write_receipt(EmbeddingStore.open(store), receipt)
    return ExtractionSummary(
        tally, plan.stored, left, watch.reason if left else "", changed, again, len(plan.sources.missing)
    )


def _index(store: str, *, changed: bool) -> None:
    """Write the index where it is not of the records as they are: an older version's, or of a store that was copied."""
    if changed:
        index(store)
    elif not is_indexed(store):
        # A run that makes nothing need not be able to write: without an index, a store opens slowly, and that is all.
        with suppress(StoreError):
            index(store)


def _name_missing(missing: Mapping[str, str], say: Callable[[str], None]) -> None:
    """Name the songs whose files cannot be compared; of many, the first ones."""
    for song, reason in list(missing.items())[:MISSING_NAMED]:
        say(f"source missing: {printable(song)}: {reason}; what is stored stays as it is")
    if len(missing) > MISSING_NAMED:
        say(f"source missing: {len(missing) - MISSING_NAMED} more songs; hear-store verify --manifest names them all")


def _extract(
    plan: Plan,
    writer: StoreWriter,
    encoders: "MultiScale",
    config: ExtractConfig,
    options: ExtractionOptions,
    *,
    report: Callable[[Outcome], None],
    say: Callable[[str], None],
    stop: threading.Event,
) -> Tally:
    if not plan.tasks:
        return Tally()
    if options.workers or options.scheduler:
        from pipeline.cluster import dask_client, run_on_cluster
        from stages.extract.worker import WorkerConfig

        # Workers have working directories of their own: everything that travels is absolute.
        bench = WorkerConfig(writer.root, config.with_absolute_paths(), processes=options.readers)
        device = encoders.device.type
        with dask_client(workers=options.workers, scheduler=options.scheduler, device=device, say=say) as client:
            return run_on_cluster(client, plan.tasks, bench, report=report, say=say, stop=stop)
    with ViewFeed(processes=options.readers) as feed:
        extractor = Extractor(encoders, writer, feed, seed=config.seed, pool=config.pool)
        return extractor.run(plan.tasks, report=report, stop=stop)


def _check_space(cost: Estimate, *, force: bool) -> None:
    if not cost.fits and not force:
        raise HearError(
            f"the missing records need {_size(cost.bytes)}, and the target has {_size(cost.free or 0)} free; choose "
            "another --store, fewer --streams, --dtype int8 or --pool, or go on with --force"
        )


def _size(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"


@contextmanager
def _failures_file(root: str) -> Iterator[TextIO]:
    """Open `failures.jsonl` beside the store whose root this is; for a remote one, in the working directory."""
    path = Path("failures.jsonl") if "://" in root else Path(root).parent / "failures.jsonl"
    with _writing(path):
        if is_device(path):
            raise HearError(f"{path}: expected a regular file, found a device or a pipe; remove it")
        file = path.open("w", encoding="utf-8")
    try:
        yield file
    finally:
        with _writing(path):
            file.close()


@contextmanager
def _writing(path: Path | str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise HearError(f"{path}: cannot be written: {error.strerror}; failed songs are listed there") from error


class _Watch:
    """Hears of outcomes: shows them, writes failures down as they come, and stops a run that goes wrong."""

    def __init__(self, plan: Plan, stop: threading.Event, max_failures: int | None) -> None:
        self._left = {task.song_id: len(task.views) for task in plan.tasks}
        self._changed = set(plan.sources.changed)
        self._failing: set[str] = set()
        self._songs = 0
        self._said: set[tuple[str, str]] = set()
        self._stop = stop
        self._max_failures = max_failures
        self._failed = 0

    @property
    def _too_many(self) -> bool:
        return self._max_failures is not None and self._failed > self._max_failures

    @property
    def reason(self) -> str:
        """Why the run ended early."""
        return f"more than {self._max_failures} views failed" if self._too_many else "interrupted"

    @property
    def made_again(self) -> int:
        """Songs with another file than before whose views have all been made again."""
        return sum(not self._left[song] for song in self._changed - self._failing)

    def hearing(self, progress: ExtractionProgress, failures: TextIO) -> Callable[[Outcome], None]:
        def hear(outcome: Outcome) -> None:
            self._left[outcome.song_id] -= 1
            self._songs += not self._left[outcome.song_id]
            progress.step(outcome.seconds, note=f"{self._songs}/{len(self._left)} songs, ")
            if outcome.error or outcome.damage:
                self._say(outcome, progress)
            if outcome.status == "failed":
                self._failed += 1
                self._failing.add(outcome.song_id)
                row = {"song": outcome.song_id, "view": outcome.view, "error": outcome.error}
                with _writing(failures.name):
                    failures.write(to_json(row) + "\n")
                    failures.flush()
                if self._too_many:
                    self._stop.set()

        return hear

    def _say(self, outcome: Outcome, progress: ExtractionProgress) -> None:
        """Print what is wrong, once per song: a bad file fails for the same reason in each view."""
        said = (outcome.song_id, outcome.error or outcome.damage)
        if said in self._said:
            return
        self._said.add(said)
        if outcome.error:
            progress.say(f"failed: {printable(outcome.song_id)} view {outcome.view}: {outcome.error}")
        else:
            progress.say(f"damaged: {printable(outcome.song_id)}: {outcome.damage}; what is there was embedded")


@contextmanager
def _interrupts(stop: threading.Event) -> Iterator[None]:
    """While open, the first Ctrl-C or SIGTERM sets `stop`; a second one ends the process as usual."""

    def first(number: int, frame: object) -> None:
        stop.set()
        signal.signal(number, before[signal.Signals(number)])

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in before:
        signal.signal(number, first)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
