"""Several training runs, one folder each: complete runs are kept, interrupted ones resume, the others start."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from stages.head.config import TrainConfig
from stages.head.data.splits import Data, open_data
from stages.head.errors import HeadError
from stages.head.training.history import Listener
from stages.head.training.run_folder import CANNOT_RESUME, RunFolder
from stages.head.training.train import run_params, train_on
from stages.songs import Manifest
from store.errors import HearError


@dataclass(frozen=True, kw_only=True)
class Job:
    """One head to train, here or in another process: it can be pickled.

    Parameters
    ----------
    name
        For messages and progress bars.
    store_root, manifest, track, out, config, receipt
        As for `train_head`.
    replace
        Train again if the run in `out` has other parameters or another store; otherwise that is an error.
    threads
        CPU threads of torch, which affect the last bits of its results; torch's default if None.
    """

    name: str
    store_root: str
    manifest: Manifest
    track: int
    out: Path
    config: TrainConfig
    receipt: Path | None = None
    replace: bool = False
    threads: int | None = None

    def open(self) -> Data:
        """Open the data to train on. Raises as `open_data`."""
        return open_data(self.store_root, self.manifest, track=self.track, config=self.config, receipt=self.receipt)

    def difference(self, data: Data) -> str:
        """Describe how the run in `out` differs from this one; empty if it does not, or if there is none."""
        params = run_params(data, track=self.track, config=self.config)
        return RunFolder(self.out).difference(params, data.store.receipt(), data.ratings())

    def is_complete(self, data: Data) -> bool:
        """Whether `out` has this run, finished."""
        return RunFolder(self.out).is_complete and not self.difference(data)

    def run(self, listeners: Sequence[Listener] = ()) -> bool:
        """Train the head, unless it is already trained.

        Returns
        -------
        bool
            False if it was already complete.

        Raises
        ------
        HeadError, StoreError, SongsError
            As `train_head`; or `out` has another run.
        """
        data = self.open()
        difference = self.difference(data)
        if difference and not self.replace:
            raise HeadError(f"{difference}; {CANNOT_RESUME}")
        if self.is_complete(data):
            return False
        with _threads(self.threads):
            train_on(
                data,
                track=self.track,
                out=self.out,
                config=self.config,
                resume=not difference,
                listeners=listeners,
            )
        return True


@dataclass(frozen=True, kw_only=True)
class JobResult:
    """The result of a job: `error` is empty if it succeeded, `trained` False if it was already complete."""

    job: Job
    trained: bool = False
    error: str = ""


def run_jobs(
    jobs: Sequence[Job],
    *,
    listeners: Callable[[Job], Sequence[Listener]] = lambda job: (),
    report: Callable[[JobResult], None] = lambda result: None,
) -> list[JobResult]:
    """Run jobs in this process, one after the other; the others run even if one fails."""
    results = []
    for job in jobs:
        try:
            result = JobResult(job=job, trained=job.run(listeners(job)))
        except HearError as error:
            result = JobResult(job=job, error=str(error))
        report(result)
        results.append(result)
    return results


def refuse_failures(results: Sequence[JobResult]) -> None:
    """Raise HeadError if a job failed; the message counts the failures and gives the first error."""
    failed = [result for result in results if result.error]
    if failed:
        raise HeadError(f"{len(failed)} of {len(results)} runs failed; {failed[0].job.name}: {failed[0].error}")


@contextmanager
def _threads(count: int | None) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)
