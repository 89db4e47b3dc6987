"""A run of stage one from manifest to receipt: plan, check, extract, and report."""

import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.interrupts import stops_at_interrupt
from pipeline.outcomes import OutcomeLog, failures_file
from pipeline.shards import Shard
from pipeline.show.bars import AudioBar, progress
from pipeline.show.output import note
from pipeline.workers import Workers, find_workers
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
from store.upkeep.info import record_bytes

if TYPE_CHECKING:
    from stages.extract.encoders import MultiScale

# Songs with missing files that are named one by one.
MISSING_NAMED = 20


@dataclass(frozen=True, kw_only=True)
class ExtractionOptions:
    """Options of a run; none changes stored numbers.

    `readers` processes decode and augment songs for each encoder; `workers` and `scheduler` select Dask; with `shard`,
    only that part of the songs is extracted; more than `max_failures` failed views stop the run; `force` starts even
    if disk space is short.
    """

    readers: int = 1
    workers: int = 0
    scheduler: str = ""
    shard: Shard | None = None
    max_failures: int | None = None
    force: bool = False


@dataclass(frozen=True)
class ExtractionSummary:
    """The results of a run: its tally, records skipped, views left, and why it ended early, if so.

    `changed` counts songs whose files have changed, of which `renewed` were extracted again in full; `missing` counts
    stored songs whose files are missing. `wanted` counts the views of the whole manifest that a shard found missing.
    """

    tally: Tally
    skipped: int
    left: int
    stopped: str
    changed: int = 0
    renewed: int = 0
    missing: int = 0
    wanted: int = 0

    @property
    def line(self) -> str:
        """The line of counts that the command prints."""
        tally = self.tally
        counts = f"{tally.done} done, {self.skipped} skipped, {len(tally.failures)} failed"
        if tally.damaged:
            counts += f", {len(tally.damaged)} song{'' if len(tally.damaged) == 1 else 's'} damaged"
        if self.changed:
            counts += f", {self.renewed} changed song{'' if self.renewed == 1 else 's'} made again"
        if self.missing:
            counts += f", {self.missing} source{'' if self.missing == 1 else 's'} missing"
        if not tally.audio:
            return counts
        return (
            f"{counts}; {tally.audio / 3600:.2f} h of audio at {tally.audio / tally.elapsed:.1f}× real time; "
            f"encoders waited for input {100 * tally.idle:.0f} % of the time"
        )

    def notes(self, receipt: Path | None) -> list[str]:
        """Lines for stderr: why the run ended early, or why it wrote no receipt."""
        if self.left:
            return [f"{self.stopped}: {self.left} views left; run the same command again to continue"]
        if receipt is not None and self.renewed < self.changed:
            old = self.changed - self.renewed
            return [f"no receipt written: {old} changed songs could not be extracted again; their old records stay"]
        if self.wanted:
            return [
                f"no receipt written: {self.wanted} views of all shards together are missing; the shard that completes "
                "the store writes it, or a last run without --shard"
            ]
        return []


def plan_run(manifest: Path, store: str, spec: Spec, *, augment: int, shard: Shard | None = None) -> Plan:
    """Read the manifest and compare it and the songs' files with the store, which need not exist and is not created.

    With `shard`, only that part of the songs is planned.

    Raises
    ------
    HearError
        The manifest has an error, the store was made with another spec, or one of its records is damaged.
    """
    songs = read_manifest(manifest, check_files=False).songs
    if shard is not None:
        songs = shard.songs(songs)
    try:
        found = EmbeddingStore.open(store, expect=spec)
    except StoreNotFoundError:
        return plan_extraction(songs, augment=augment, rows={}, sources=Freshness())
    sources = stored_freshness(found, songs, progress=progress("files hashed"))
    return plan_extraction(songs, augment=augment, rows=found.rows, sources=sources)


def dry_run(
    manifest: Path, store: str, config: ExtractConfig, *, augment: int, readers: int = 1, shard: Shard | None = None
) -> dict[str, float | int | str | None]:
    """Estimate the cost of a run, or of one shard of it; nothing is changed.

    Returns
    -------
    dict
        songs, views (to extract), stored (views in the store), changed (songs whose files have changed, and which are
        extracted again), missing (stored songs whose files are missing), hours (of audio to encode, from the files),
        bytes, free (None: unknown), unreadable, speed (× real time on this machine, one process), hours_to_go.

    Raises
    ------
    HearError
        The manifest has an error, the weights cannot be loaded, or the store was made with another spec.
    """
    encoders = config.load_encoders()
    spec = config.spec(encoders)
    plan = plan_run(manifest, store, spec, augment=augment, shard=shard)
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
        spec=spec,
        root=store,
        processes=readers,
        progress=progress("lengths"),
        replaced=record_bytes(spec, plan.replaced_frames),
    )


def run_extraction(
    manifest: Path, store: str, config: ExtractConfig, *, augment: int, receipt: Path | None, options: ExtractionOptions
) -> ExtractionSummary:
    """Extract the missing views, then write the receipt.

    Songs whose files have changed are extracted again, and each new record replaces its old one. If that fails, the
    old record stays, no receipt is written, and the next run tries again. Ctrl-C and SIGTERM end the run after the
    current views; stored records stay, and a second run continues.

    Raises
    ------
    HearError
        The manifest, the weights, the spec, the disk space or the store does not allow the run.
    """
    with find_workers(config, workers=options.workers, scheduler=options.scheduler, say=note) as workers:
        # The workers need the GPUs: with them, this process only describes the encoders.
        place = workers or config.load_encoders()
        spec, origins = place.config.describe() if isinstance(place, Workers) else config.describe(place)
        plan = plan_run(manifest, store, spec, augment=augment, shard=options.shard)
        _check_space(_cost(plan, spec, store, options.readers * max(1, options.workers)), force=options.force)
        # After the check: it advises another spec, which an existing store would refuse.
        writer = StoreWriter.open(store, spec, encoders_from=origins)
        remember_hashes(writer.root, plan.sources.hashed)
        stop = threading.Event()
        with (
            stops_at_interrupt(stop),
            failures_file(writer.root, options.shard) as failures,
            AudioBar(plan.records) as bar,
        ):
            _name_missing(plan.sources.missing, bar.say)
            log = OutcomeLog(plan, bar, failures, stop=stop, max_failures=options.max_failures)
            tally = _extract(plan, writer, place, config, options, report=log.add, say=bar.say, stop=stop)
    left = plan.records - tally.done - len(tally.failures)
    _index(store, changed=bool(tally.done))
    changed, wanted = len(plan.sources.changed), 0
    # A receipt describes the current songs; the store may still have records of changed files.
    if receipt is not None and not left and log.renewed == changed:
        # A shard writes it only if the other shards' records are there.
        wanted = plan_run(manifest, store, spec, augment=augment).records if options.shard else 0
        if not wanted:
            write_receipt(EmbeddingStore.open(store), receipt)
    reason, missing = log.reason if left else "", len(plan.sources.missing)
    return ExtractionSummary(tally, plan.stored, left, reason, changed, log.renewed, missing, wanted)


def _index(store: str, *, changed: bool) -> None:
    """Write the index if it does not match the records, as after an older version's run or in a copied store."""
    if changed:
        index(store)
    elif not is_indexed(store):
        # A run with nothing to do may lack write access: without an index, the store only opens slowly.
        with suppress(StoreError):
            index(store)


def _name_missing(missing: Mapping[str, str], say: Callable[[str], None]) -> None:
    """Name the songs whose files are missing; if there are many, the first ones."""
    for song, reason in list(missing.items())[:MISSING_NAMED]:
        say(f"source missing: {printable(song)}: {reason}; its records stay unchanged")
    if len(missing) > MISSING_NAMED:
        say(f"source missing: {len(missing) - MISSING_NAMED} more songs; hear-store verify --manifest names them all")


def _extract(
    plan: Plan,
    writer: StoreWriter,
    place: "MultiScale | Workers",
    config: ExtractConfig,
    options: ExtractionOptions,
    *,
    report: Callable[[Outcome], None],
    say: Callable[[str], None],
    stop: threading.Event,
) -> Tally:
    """Run the plan with the encoders of this process, or on workers."""
    if not plan.tasks:
        return Tally()
    if isinstance(place, Workers):
        return place.run(plan.tasks, writer.root, readers=options.readers, report=report, say=say, stop=stop)
    with ViewFeed(processes=options.readers) as feed:
        extractor = Extractor(place, writer, feed, seed=config.seed, pool=config.pool)
        return extractor.run(plan.tasks, report=report, stop=stop)


def _check_space(cost: Estimate, *, force: bool) -> None:
    if not cost.fits and not force:
        raise HearError(
            f"the missing records need {_size(cost.bytes)}, and the target has {_size(cost.free or 0)} free; choose "
            "another --store, fewer --streams, --dtype int8 or --pool, or start anyway with --force"
        )


def _size(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"
