"""Many training runs, a folder each: complete ones are left alone, cut-off ones go on, the others begin."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from stages.head.config import TrainConfig
from stages.head.data.splits import Data, open_data
from stages.head.errors import HeadError
from stages.head.training.history import Listener
from stages.head.training.run_folder import ANEW, RunFolder
from stages.head.training.train import run_params, train_on
from stages.songs import Manifest
from store.errors import HearError


@dataclass(frozen=True, kw_only=True)
class Job:
    """One head to train, wherever: it pickles.

    Parameters
    ----------
    name
        For people.
    store_root, manifest, track, out, config, receipt
        As for `train_head`.
    replace
        A run in `out` that other parameters or another store made is trained again; otherwise that is an error.
    threads
        CPU threads of torch, which change the last bits of its results; as many as torch finds fit if None.
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
        """The data that it learns from. Raises as `open_data`."""
        return open_data(self.store_root, self.manifest, track=self.track, config=self.config, receipt=self.receipt)

    def difference(self, data: Data) -> str:
        """What tells the run in `out` from this one; empty if nothing, or if none is there."""
        params = run_params(data, track=self.track, config=self.config)
        return RunFolder(self.out).difference(params, data.store.receipt(), data.ratings())

    def is_complete(self, data: Data) -> bool:
        """Whether `out` has this very run, finished."""
        return RunFolder(self.out).is_complete and not self.difference(data)

    def run(self, listeners: Sequence[Listener] = ()) -> bool:
        """Train what is not trained yet.

        Returns
        -------
        bool
            False if it was complete already.

        Raises
        ------
        HeadError, StoreError, SongsError
            As `train_head`; or another run is in the way.
        """
        data = self.open()
        difference = self.difference(data)
        if difference and not self.replace:
            raise HeadError(f"{difference}; {ANEW}")
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
class Ended:
    """How a job ended: `error` is empty where its head is there, `trained` False where it was before."""

    job: Job
    trained: bool = False
    error: str = ""


def run_jobs(
    jobs: Sequence[Job],
    *,
    listeners: Callable[[Job], Sequence[Listener]] = lambda job: (),
    report: Callable[[Ended], None] = lambda ended: None,
) -> list[Ended]:
    """Run jobs here, one after the other; one that fails does not keep the others from running."""
    ends = []
    for job in jobs:
        try:
            ended = Ended(job=job, trained=job.run(listeners(job)))
        except HearError as error:
            ended = Ended(job=job, error=str(error))
        report(ended)
        ends.append(ended)
    return ends


def refuse_failures(ends: Sequence[Ended]) -> None:
    """Raise HeadError if a job failed; the message counts them and tells the first."""
    failed = [ended for ended in ends if ended.error]
    if failed:
        raise HeadError(f"{len(failed)} of {len(ends)} runs failed; {failed[0].job.name}: {failed[0].error}")


@contextmanager
def _threads(count: int | None) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)
