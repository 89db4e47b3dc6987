"""The work of `hear-head stress`: change songs, embed them in a store, score them, and measure the differences."""

import threading
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.interrupts import stops_at_interrupt
from pipeline.prediction import read_split
from pipeline.show.bars import AudioBar, Bar, progress
from pipeline.show.output import note
from stages.common.provenance import provenance_to_json
from stages.extract.estimate import Estimate, calibrate, estimate
from stages.extract.plan import SongTask
from stages.extract.run import Outcome
from stages.head.checkpoint.ensemble import Ensemble, load_ensemble
from stages.head.checkpoint.score import check_spec
from stages.head.files import write_json
from stages.robustness.changes import Change, record_id, select_changes
from stages.robustness.effects import StressResult, measure
from stages.robustness.embed import (
    StressPlan,
    make_records,
    open_stress_store,
    plan_stress,
    record_ids,
    stress_spec,
)
from stages.robustness.errors import StressError
from stages.robustness.groups import GroupGap, group_gaps
from stages.robustness.page import stress_html
from stages.robustness.tables import stress_json, stress_table
from stages.scoring.encoders import load_encoders
from stages.scoring.files import check_outputs
from stages.scoring.inputs import InputSong, expand_inputs, join_manifest
from stages.scoring.page.document import write_report
from stages.scoring.rows import SongScore
from stages.scoring.run import Scoring
from stages.scoring.sources import StoreSource
from store import EmbeddingStore, StoreWriter, index

if TYPE_CHECKING:
    from stages.extract.encoders import MultiScale


@dataclass(frozen=True, kw_only=True)
class StressRequest:
    """Songs, heads, encoders and the store, as in `pipeline.prediction.Request`; and the changes to plant.

    `changes` are names or kinds; all if empty. `readers` processes change songs. `force` starts even if disk space is
    short.
    """

    inputs: Sequence[str]
    checkpoints: Sequence[str]
    encoders: Mapping[str, Any]
    store: str
    lines: Iterable[str] = ()
    manifest: Path | None = None
    split: str = ""
    by: str = ""
    changes: Sequence[str] = ()
    tolerance: float
    readers: int = 1
    force: bool = False


@dataclass(frozen=True)
class StressSummary:
    """The results of a run; `left` records are still to be made if it was interrupted, and then there is no result."""

    made: int
    skipped: int
    failed: tuple[str, ...]
    left: int = 0
    result: StressResult | None = None
    table: str = ""
    caution: str = ""

    @property
    def line(self) -> str:
        """The line of counts that the command prints."""
        return f"{self.made} changed songs made, {self.skipped} in the store already, {len(self.failed)} failed"


class _Run:
    """The parts that an estimate and a run share."""

    def __init__(self, request: StressRequest) -> None:
        self.request = request
        self.changes: tuple[Change, ...] = select_changes(request.changes)
        self.manifest = read_split(request.manifest, request.split)
        listed = expand_inputs(request.inputs, lines=request.lines)
        self.songs = join_manifest(listed, self.manifest, by=request.by)
        _check_ids(self.songs)
        self.ensemble: Ensemble = load_ensemble(request.checkpoints, device=request.encoders["device"])
        store = open_stress_store(request.store)
        for head in self.ensemble.heads if store else ():
            check_spec(head, store)  # type: ignore[arg-type]
        self.plan: StressPlan = plan_stress(self.songs, self.changes, store)

    def load_encoders(self) -> "MultiScale":
        return load_encoders(self.ensemble, **self.request.encoders)

    def cost(self, encoders: "MultiScale") -> Estimate:
        counts = Counter(task.path for task in self.plan.tasks)
        tasks = [SongTask(str(path), path, tuple(range(count))) for path, count in counts.items()]
        spec = stress_spec(encoders, pool=self.ensemble.pool)
        return estimate(
            tasks, spec=spec, root=self.request.store, processes=self.request.readers, progress=progress("lengths")
        )


def estimate_stress(request: StressRequest) -> dict[str, float | int | None]:
    """The cost of a run; nothing is changed.

    Returns
    -------
    dict
        songs, records (to make), stored, hours (of audio to encode), bytes, free (None: unknown), unreadable, speed (×
        real time on this machine), hours_to_go.
    """
    run = _Run(request)
    encoders = run.load_encoders()
    cost = run.cost(encoders)
    speed = calibrate(encoders) if run.plan.tasks else 0.0
    return {
        "songs": len(run.songs),
        "records": len(run.plan.tasks),
        "stored": run.plan.current,
        "hours": round(cost.hours, 3),
        "bytes": cost.bytes,
        "free": cost.free,
        "unreadable": cost.unreadable + len(run.plan.unread),
        "speed": round(speed, 2),
        "hours_to_go": round(cost.hours / speed, 3) if speed else 0.0,
    }


def stress(request: StressRequest, *, report: Path | None = None, out: Path | None = None) -> StressSummary:
    """Make the missing records, score all, and write the page and the JSON file.

    Raises
    ------
    HearError
        No song can be scored, a head and the encoders or the store do not fit, or a file cannot be written.
    """
    check_outputs({"--out": out}, {"--report": report})
    run = _Run(request)
    if not run.plan.tasks and not run.plan.current:
        first = next(iter(run.plan.unread.values()))
        raise StressError(f"none of the {len(run.songs)} songs can be read; the first: {first}")
    failed = [f"{song}: {reason}" for song, reason in run.plan.unread.items()]
    for line in failed:
        note(f"failed: {line}")
    made, bad, left = _embed(run) if run.plan.tasks else (0, {}, 0)
    failed += [f"{record}: {reason}" for record, reason in bad.items()]
    if left:
        return StressSummary(made, run.plan.current, tuple(failed), left)
    rows, model = _score(run, leave_out=bad)
    silent = [song.song_id for song in run.songs if (row := rows.get(record_id(song.song_id))) and row.is_silence]
    for name in silent:
        note(f"left out: {name}: silence, whose scores mean nothing")
    songs = [song.song_id for song in run.songs if song.song_id not in silent]
    result = measure(rows, songs, run.changes, tolerance=request.tolerance)
    groups = {song.song_id: song.group for song in run.songs}
    gaps = group_gaps(result, groups, run.manifest) if request.by and run.manifest else []
    _write(run, result, gaps, {"model": model, "failed": failed}, report=report, out=out)
    table = stress_table(result, gaps=gaps, by=request.by)
    return StressSummary(
        made, run.plan.current, tuple(failed), result=result, table=table, caution=run.ensemble.caution
    )


def _check_ids(songs: Sequence[InputSong]) -> None:
    twice = [song for song, count in Counter(song.song_id for song in songs).items() if count > 1]
    if twice:
        raise StressError(f"{len(twice)} song ids name several files, the first is {twice[0]!r}; give each its own id")


def _embed(run: _Run) -> tuple[int, dict[str, str], int]:
    """Make the plan's records: how many were made, the reason for each that failed, and how many are left."""
    request, encoders = run.request, run.load_encoders()
    cost = run.cost(encoders)
    if not cost.fits and not request.force:
        raise StressError(
            f"{request.store}: the changed songs need {cost.bytes / 1e9:.1f} GB, found {(cost.free or 0) / 1e9:.1f} GB "
            "free; choose another --store, fewer songs or --changes, or start anyway with --force"
        )
    writer = StoreWriter.open(
        request.store,
        stress_spec(encoders, pool=run.ensemble.pool),
        encoders_from=provenance_to_json(encoders.provenance),
    )
    stop, failed = threading.Event(), dict[str, str]()
    with stops_at_interrupt(stop), AudioBar(len(run.plan.tasks), what="changed songs") as bar:

        def report(outcome: Outcome) -> None:
            if outcome.status == "failed":
                failed[outcome.song_id] = outcome.error
                bar.say(f"failed: {outcome.song_id}: {outcome.error}")
            bar.step(outcome.seconds)

        tally = make_records(run.plan, encoders, writer, processes=request.readers, report=report, stop=stop)
    index(request.store)
    return tally.done, failed, len(run.plan.tasks) - tally.done - len(failed)


def _score(run: _Run, *, leave_out: Mapping[str, str]) -> tuple[dict[str, SongScore], str]:
    """The rows of all current records, and the identity of the heads and encoders."""
    store = EmbeddingStore.open(run.request.store)
    read = [song for song in run.songs if song.song_id not in run.plan.unread]
    records = [record for song in read for record in record_ids(song.song_id, run.changes) if record not in leave_out]
    scoring = Scoring(run.ensemble, StoreSource(store, run.ensemble))
    rows: dict[str, SongScore] = {}
    with Bar("scores", len(records)) as bar:
        for scored in scoring.score([InputSong(record, None) for record in records]):
            rows[scored.row.song_id] = scored.row
            if scored.row.error:
                bar.say(f"failed: {scored.row.song_id}: {scored.row.error}")
            bar.count()
    return rows, scoring.model


def _write(
    run: _Run,
    result: StressResult,
    gaps: Sequence[GroupGap],
    about: Mapping[str, Any],
    *,
    report: Path | None,
    out: Path | None,
) -> None:
    request, caution = run.request, run.ensemble.caution
    heads = list(request.checkpoints)
    if out:
        values = {"heads": heads, "caution": caution, **about}
        write_json(out, stress_json(result, about=values, gaps=gaps, by=request.by))
    if report:
        count = len(result.songs)
        text = f"{count} song{'s' if count > 1 else ''} scored by {', '.join(heads)}, unchanged and changed."
        write_report(report, stress_html(result, about=text, caution=caution, gaps=gaps, by=request.by))
