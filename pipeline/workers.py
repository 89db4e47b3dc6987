"""The Dask workers of an extraction: their device and precision, and what is refused before they start."""

import os
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from pipeline.cluster import ClusterError, dask_client
from stages.extract.config import ExtractConfig
from stages.extract.plan import SongTask
from stages.extract.run import Outcome, Tally
from store.errors import HearError

if TYPE_CHECKING:
    from distributed import Client


@dataclass(frozen=True)
class Workers:
    """Workers that will encode: the config with their precision, and a function that connects to them."""

    config: ExtractConfig
    client: Callable[[], "AbstractContextManager[Client]"]

    def run(
        self,
        tasks: Sequence[SongTask],
        root: str,
        *,
        readers: int,
        report: Callable[[Outcome], None],
        say: Callable[[str], None],
        stop: threading.Event,
    ) -> Tally:
        """Extract songs into the store with this root; see `run_on_cluster`."""
        from pipeline.cluster_songs import run_on_cluster
        from stages.extract.worker import WorkerConfig

        # Workers have their own working directories, so all paths must be absolute.
        worker = WorkerConfig(root, self.config.with_absolute_paths(), processes=readers)
        with self.client() as client:
            return run_on_cluster(client, tasks, worker, report=report, say=say, stop=stop)


@contextmanager
def find_workers(
    config: ExtractConfig, *, workers: int, scheduler: str, say: Callable[[str], None]
) -> Iterator[Workers | None]:
    """Connect to a scheduler, or prepare workers on this machine, which start when they are needed.

    Yields None if neither is requested. `say` is called with small differences between the versions there and here.

    Raises
    ------
    HearError
        Both are asked for; the device is not available; the machine has fewer GPUs; the scheduler cannot be used; or
        one of its workers has several threads, another precision, or the same GPU as another worker.
    """
    if scheduler and workers:
        raise ClusterError(
            f"--scheduler {scheduler} --workers {workers}: expected one of them; --scheduler uses the workers "
            "that have joined there"
        )
    if scheduler:
        with dask_client(workers=0, scheduler=scheduler, device="", say=say) as client:
            yield Workers(_agreed(config, client, scheduler), lambda: nullcontext(client))
    elif workers:
        chosen = _on_this_machine(config, workers)
        yield Workers(chosen, lambda: dask_client(workers=workers, scheduler="", device=chosen.device))
    else:
        yield None


def _on_this_machine(config: ExtractConfig, workers: int) -> ExtractConfig:
    """The config of workers on this machine: on GPUs, dask-cuda gives each its own as the device `cuda`."""
    import torch

    if config.device.startswith("cuda:"):
        raise ClusterError(
            f"--device {config.device} --workers {workers}: each worker has its own GPU; use --device cuda, and "
            "CUDA_VISIBLE_DEVICES to choose GPUs"
        )
    # `auto` finds a GPU without using memory on it, which some clusters allow one process per GPU only.
    has_gpu = config.device == "cuda" and torch.cuda.is_available()
    chosen = (replace(config, device="auto") if has_gpu else config).resolved()
    gpus = torch.cuda.device_count() if chosen.device == "cuda" else workers
    if workers > gpus:
        raise ClusterError(
            f"--workers {workers}: expected at most one per GPU, found {gpus} GPU{'' if gpus == 1 else 's'}; use "
            f"--workers {gpus}, and more --readers if the GPUs wait for input"
        )
    return chosen


def _agreed(config: ExtractConfig, client: "Client", scheduler: str) -> ExtractConfig:
    """The config with the precision of all workers of a scheduler."""
    where = f"--scheduler {scheduler}: the worker at"
    for worker, threads in client.nthreads().items():
        if threads != 1:
            raise ClusterError(
                f"{where} {worker} has {threads} threads, expected 1, as it encodes one song at a time; start it "
                "with: dask worker --nthreads 1"
            )
    found: Mapping[str, Any] = client.run(_on_this_worker, config, on_error="return")
    by_precision: dict[str, str] = {}
    by_gpu: dict[str, list[str]] = defaultdict(list)
    for worker, answer in found.items():
        if isinstance(answer, HearError):
            raise ClusterError(f"{where} {worker}: {answer}") from answer
        if isinstance(answer, BaseException):
            raise answer
        precision, gpu = answer
        by_precision.setdefault(precision, worker)
        if gpu:
            by_gpu[gpu].append(worker)
    if len(by_precision) > 1:
        differing = " and ".join(f"{worker} would use {precision}" for precision, worker in by_precision.items())
        raise ClusterError(f"{where} {differing}; choose one for all with --precision")
    for gpu, sharing in by_gpu.items():
        if len(sharing) > 1:
            raise ClusterError(
                f"{where} {sharing[0]} and {len(sharing) - 1} more have the same GPU, {gpu}; start one worker per GPU, "
                "each with its own CUDA_VISIBLE_DEVICES"
            )
    return replace(config, precision=next(iter(by_precision), config.precision))


def _on_this_worker(config: ExtractConfig) -> tuple[str, str]:
    """The precision that this process would use, and its GPU; empty on a CPU."""
    import torch

    chosen = config.resolved()
    if not chosen.device.startswith("cuda"):
        return chosen.precision, ""
    # The parts of a GPU that is divided (MIG) may have the GPU's own id.
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")[0]
    gpu = visible if visible.startswith("MIG-") else str(torch.cuda.get_device_properties(chosen.device).uuid)
    return chosen.precision, gpu
