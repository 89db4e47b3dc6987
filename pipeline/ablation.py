"""Table 2 from one store: what is missing of its eight runs is trained, several at a time where they fit."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from pipeline.head_runs import Room, find_room, run_all
from stages.head.ablation import TABLE_2, PaperRow, Setting, describe_rows, row_job
from stages.head.ablation_table import Row, ablation_markdown, describe_runs, write_ablation
from stages.head.checks import describe_data
from stages.head.data import Data
from stages.head.report import read_report
from stages.head.runs import Ended, Job, refuse_failures
from stages.head.seeds import begin_seeds, finish_seeds, seed_jobs


@dataclass(frozen=True, kw_only=True)
class _PlannedRow:
    """A row of the table, its job, its jobs by seed (itself if there is one seed), and what they learn from."""

    paper: PaperRow
    job: Job
    members: Sequence[Job]
    data: Data


def run_ablation(
    job: Job, *, seeds: int = 1, parallel: int | None = None, threads: int | None = None, say: Callable[[str], None]
) -> str:
    """Train the rows that are not there yet, and write the table into `job.out`.

    Parameters
    ----------
    job
        Store, manifest, track, folder and the full recipe; a row leaves out of it what the row is without.
    seeds
        Heads a row; figures are means over them.
    parallel, threads
        Runs at a time, and CPU threads of each; chosen by `find_room` if None. The first changes no result.
    say
        Called with a line when there is something to tell.

    Returns
    -------
    str
        The table as Markdown.

    Raises
    ------
    HearError
        The store cannot be learned from, or a run failed; the others, and the table of those, are there all the same.
    KeyboardInterrupt
        Runs in hand were cut off; what is left was said.
    """
    rows = _plan(job, seeds)
    jobs = [(member, row.data) for row in rows for member in row.members]
    waiting = [(member, data) for member, data in jobs if not member.is_complete(data)]
    for note in _data_notes(rows) if waiting else ():
        say(note)
    room = find_room(waiting, parallel=parallel, threads=threads)
    for line in _what_is_to_do(len(jobs), waiting, room):
        say(line)
    try:
        ends = run_all([replace(member, threads=room.threads) for member, _ in waiting], room, say=say)
    except KeyboardInterrupt:
        left = sum(not member.is_complete(data) for member, data in jobs)
        say(f"interrupted: {left} of {len(jobs)} runs are left; the same command goes on where they were cut off")
        raise
    table = _tabulate(job, rows, ends)
    refuse_failures(ends)
    return table


def _plan(job: Job, seeds: int) -> list[_PlannedRow]:
    rows = []
    for paper in TABLE_2:
        row = replace(row_job(job, paper.setting), replace=True)
        members = [row] if seeds == 1 else seed_jobs(row, seeds)
        rows.append(_PlannedRow(paper=paper, job=row, members=members, data=row.open()))
    if seeds > 1:
        for planned in rows:
            begin_seeds(planned.job, planned.members)
    return rows


def _what_is_to_do(count: int, waiting: Sequence[tuple[Job, Data]], room: Room) -> list[str]:
    others = [f"{member.name} is trained anew: {why}" for member, data in waiting if (why := member.difference(data))]
    counts = f"{count - len(waiting)} of {count} runs are complete"
    return [*others, f"{counts}; {len(waiting)} to train, {room.line}" if waiting else counts]


def _tabulate(job: Job, rows: Sequence[_PlannedRow], ends: Sequence[Ended]) -> str:
    failed = {ended.job.out for ended in ends if ended.error}
    table = [_row(row, failed=any(member.out in failed for member in row.members)) for row in rows]
    data: dict[Setting, Data] = {row.paper.setting: row.data for row in rows}
    runs = describe_runs(table, views_per_epoch=job.recipe.views_per_epoch)
    notes = [*describe_rows(job, data), *_data_notes(rows), *runs]
    count = len(rows[0].members)
    if count > 1:
        notes.append(f"Means ± standard deviation over {count} seeds.")
    write_ablation(job.out, table, track=job.track, notes=notes)
    return ablation_markdown(table, track=job.track, notes=notes)


def _data_notes(rows: Sequence[_PlannedRow]) -> list[str]:
    """What is odd about the songs: rows share them, so it is told once."""
    notes = dict.fromkeys(note for row in rows for note in describe_data(row.data, row.job.recipe))
    return [f"{note[0].upper()}{note[1:]}." for note in notes]


def _row(row: _PlannedRow, *, failed: bool) -> Row:
    if failed:
        return Row(paper=row.paper, ours=None)
    runs = [read_report(member.out) for member in row.members]
    ours, std = runs[0].metrics["mean"], None
    if len(runs) > 1:
        report = finish_seeds(row.job, row.members, row.data)
        ours, std = report.mean["mean"], report.std["mean"]
    return Row(
        paper=row.paper,
        ours=ours,
        std=std,
        steps=tuple(run.steps for run in runs),
        validations=tuple(run.validations for run in runs),
    )
