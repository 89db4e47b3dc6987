"""Table 2 from one store: trains its missing rows (of eight), several at a time if they fit."""

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
    """A row of the table, its job, one job per seed (the job itself if there is one seed), and their data."""

    paper: PaperRow
    job: Job
    members: Sequence[Job]
    data: Data

    def differences(self) -> dict[str, str]:
        """Name of a run → its difference from the run in its folder, if any."""
        found = {member.name: member.difference(self.data) for member in self.members}
        # Seeds have folders within the row's folder; a run in the row's own folder would be removed.
        if len(self.members) > 1 and RunFolder(self.job.out).is_begun:
            found[self.job.name] = f"{self.job.out}: this is a run of one seed, expected {len(self.members)} seeds"
        return {name: difference for name, difference in found.items() if difference}


def run_ablation(
    job: Job, *, seeds: int = 1, parallel: int | None = None, threads: int | None = None, say: Callable[[str], None]
) -> str:
    """Train the missing rows, and write the table into `job.out`.

    Parameters
    ----------
    job
        Store, manifest, track, folder and the full config, from which each row removes its missing parts. With
        `replace`, rows made with other settings or songs are trained again.
    seeds
        Heads per row; figures are means over them.
    parallel, threads
        Runs at a time, and CPU threads per run; chosen by `choose_parallelism` if None. `parallel` changes no result.
    say
        Called with each line to print.

    Returns
    -------
    str
        The table as Markdown.

    Raises
    ------
    HearError
        The store cannot be used for training; or an existing row was made with other parameters, songs or another
        store, and nothing was changed; or a run failed: the others and their table are still written.
    KeyboardInterrupt
        Current runs were stopped; the number of runs left was reported.
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
    parallelism = choose_parallelism(waiting, parallel=parallel, threads=threads)
    counts = f"{len(jobs) - len(waiting)} of {len(jobs)} runs are complete"
    for name, difference in differences.items():
        say(f"{name} will be trained again: {difference}")
    say(f"{counts}; {len(waiting)} to train, {parallelism.line}" if waiting else counts)
    try:
        ends = run_all([replace(member, threads=parallelism.threads) for member, _ in waiting], parallelism, say=say)
    except KeyboardInterrupt:
        left = sum(not member.is_complete(data) for member, data in jobs)
        say(f"interrupted: {left} of {len(jobs)} runs are left; run the same command again to continue")
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
    """Name of a run → why it must be trained again.

    Raises
    ------
    HeadError
        There is one, and `job.replace` is false.
    """
    found = {name: difference for row in rows for name, difference in row.differences().items()}
    if found and not job.replace:
        # An option may concern some rows only: four of them use `--beta`. The first difference shows the cause.
        raise HeadError(
            f"{next(iter(found.values()))}; {len(found)} of {sum(len(row.members) for row in rows)} runs in {job.out} "
            "differ from this command, and nothing was changed: restore the setting, choose another --out, or train "
            "them again with --replace"
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
    """Notes about the songs: rows share them, so each note appears once."""
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
