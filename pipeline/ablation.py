"""Table 2 from one store: what is missing of its eight runs is trained, several at a time where they fit."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from pipeline.runs import choose_parallelism, run_all
from stages.evaluate.ablation import TABLE_2, PaperRow, Setting, describe_rows, row_job
from stages.evaluate.ablation_table import AblationRow, ablation_markdown, describe_runs, write_ablation
from stages.head.data.splits import Data
from stages.head.errors import HeadError
from stages.head.training.checks import describe_data
from stages.head.training.report import read_report
from stages.head.training.run_folder import RunFolder
from stages.head.training.runs import Job, JobResult, refuse_failures
from stages.head.training.seeds import begin_seeds, finish_seeds, seed_jobs


@dataclass(frozen=True, kw_only=True)
class _PlannedRow:
    """A row of the table, its job, its jobs by seed (itself if there is one seed), and what they learn from."""

    paper: PaperRow
    job: Job
    members: Sequence[Job]
    data: Data

    def differences(self) -> dict[str, str]:
        """Name of a run → what tells the one that is in its folder from it, where something does."""
        found = {member.name: member.difference(self.data) for member in self.members}
        # Each seed has a folder in the row's; a run in the row's own would be removed for them.
        if len(self.members) > 1 and RunFolder(self.job.out).is_begun:
            found[self.job.name] = f"{self.job.out}: this is the run of one seed, now it is {len(self.members)}"
        return {name: difference for name, difference in found.items() if difference}


def run_ablation(
    job: Job, *, seeds: int = 1, parallel: int | None = None, threads: int | None = None, say: Callable[[str], None]
) -> str:
    """Train the rows that are not there yet, and write the table into `job.out`.

    Parameters
    ----------
    job
        Store, manifest, track, folder and the full config; a row leaves out of it what the row is without. Rows that
        something else made are trained again if it says `replace`.
    seeds
        Heads a row; figures are means over them.
    parallel, threads
        Runs at a time, and CPU threads of each; chosen by `choose_parallelism` if None. The first changes no result.
    say
        Called with a line when there is something to tell.

    Returns
    -------
    str
        The table as Markdown.

    Raises
    ------
    HearError
        The store cannot be learned from; or other parameters, songs or another store made a row that is there, and
        nothing was changed; or a run failed: the others, and the table of those, are there all the same.
    KeyboardInterrupt
        Runs in hand were cut off; what is left was said.
    """
    rows = _plan(job, seeds)
    differences = _differences(job, rows)
    if seeds > 1:
        for row in rows:
            begin_seeds(row.job, row.members)
    jobs = [(member, row.data) for row in rows for member in row.members]
    waiting = [(member, data) for member, data in jobs if not member.is_complete(data)]
    for note in _data_notes(rows) if waiting else ():
        say(note)
    room = choose_parallelism(waiting, parallel=parallel, threads=threads)
    counts = f"{len(jobs) - len(waiting)} of {len(jobs)} runs are complete"
    for name, difference in differences.items():
        say(f"{name} is trained again: {difference}")
    say(f"{counts}; {len(waiting)} to train, {room.line}" if waiting else counts)
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
        row = row_job(job, paper.setting)
        members = [row] if seeds == 1 else seed_jobs(row, seeds)
        rows.append(_PlannedRow(paper=paper, job=row, members=members, data=row.open()))
    return rows


def _differences(job: Job, rows: Sequence[_PlannedRow]) -> dict[str, str]:
    """Name of a run → why it is trained again.

    Raises
    ------
    HeadError
        There is one, and `job.replace` does not allow it.
    """
    found = {name: difference for row in rows for name, difference in row.differences().items()}
    if found and not job.replace:
        # Rows differ one by one: `--beta` is of four of them. The first tells what to look at.
        raise HeadError(
            f"{next(iter(found.values()))}; {len(found)} of {sum(len(row.members) for row in rows)} runs in {job.out} "
            "differ from this command, and nothing was changed: set it back, choose another --out, or train them again "
            "with --replace"
        )
    return found


def _tabulate(job: Job, rows: Sequence[_PlannedRow], ends: Sequence[JobResult]) -> str:
    failed = {ended.job.out for ended in ends if ended.error}
    table = [_row(row, failed=any(member.out in failed for member in row.members)) for row in rows]
    data: dict[Setting, Data] = {row.paper.setting: row.data for row in rows}
    runs = describe_runs(table, views_per_epoch=job.config.views_per_epoch)
    notes = [*describe_rows(job, data), *_data_notes(rows), *runs]
    count = len(rows[0].members)
    if count > 1:
        notes.append(f"Means ± standard deviation over {count} seeds.")
    write_ablation(job.out, table, track=job.track, notes=notes)
    return ablation_markdown(table, track=job.track, notes=notes)


def _data_notes(rows: Sequence[_PlannedRow]) -> list[str]:
    """What is odd about the songs: rows share them, so it is told once."""
    notes = dict.fromkeys(note for row in rows for note in describe_data(row.data, row.job.config))
    return [f"{note[0].upper()}{note[1:]}." for note in notes]


def _row(row: _PlannedRow, *, failed: bool) -> AblationRow:
    if failed:
        return AblationRow(paper=row.paper, ours=None)
    runs = [read_report(member.out) for member in row.members]
    ours, std = runs[0].metrics["mean"], None
    if len(runs) > 1:
        report = finish_seeds(row.job, row.members, row.data)
        ours, std = report.mean["mean"], report.std["mean"]
    return AblationRow(
        paper=row.paper,
        ours=ours,
        std=std,
        steps=tuple(run.steps for run in runs),
        validations=tuple(run.validations for run in runs),
    )
