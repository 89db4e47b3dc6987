"""Workers on GPUs: the main process uses no GPU, and wrong settings are refused before the start."""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from pipeline.cluster import ClusterError
from pipeline.extraction import ExtractionOptions, run_extraction
from pipeline.workers import find_workers
from stages.common.device import DeviceError
from stages.extract import encoders
from stages.extract.config import ExtractConfig
from stages.extract.run import Tally
from stages.extract.worker import WorkerConfig
from store import EmbeddingStore

ADDRESS = "tcp://host:8786"


class FakeClient:
    """A scheduler's client: threads per worker, and each worker's (precision, GPU) or error."""

    def __init__(self, *answers: object, threads: int = 1) -> None:
        self._answers = {f"tcp://w{number}": answer for number, answer in enumerate(answers)}
        self._threads = threads

    def nthreads(self) -> dict[str, int]:
        return dict.fromkeys(self._answers, self._threads)

    def run(self, function: object, config: ExtractConfig, *, on_error: str) -> dict[str, Any]:
        assert on_error == "return"
        return self._answers


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """torch reports two GPUs; using one fails."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: True)


def found(config: ExtractConfig, *, workers: int = 0, scheduler: str = "") -> ExtractConfig:
    with find_workers(config, workers=workers, scheduler=scheduler, say=print) as place:
        assert place is not None
        return place.config


@pytest.mark.parametrize(("how", "device"), [("workers", "cuda"), ("scheduler", "auto")])
def test_the_main_process_loads_encoders_on_the_cpu_only_and_takes_the_workers_precision(
    tmp_path: Path,
    make_songs: Callable[..., Path],
    config: ExtractConfig,
    monkeypatch: pytest.MonkeyPatch,
    two_gpus: None,
    device: str,
    how: str,
) -> None:
    loaded, sent, load = [], [], encoders.load_multiscale

    def counted(**arguments: Any) -> Any:
        loaded.append(arguments["device"])
        return load(**arguments)

    def run(client: object, tasks: object, worker: WorkerConfig, **_: object) -> Tally:
        sent.append(worker.extract)
        return Tally()

    monkeypatch.setattr(encoders, "load_multiscale", counted)
    monkeypatch.setattr("pipeline.workers.dask_client", lambda **_: nullcontext(FakeClient(("bf16", "GPU-1"))))
    monkeypatch.setattr("pipeline.cluster_songs.run_on_cluster", run)
    options = ExtractionOptions(workers=2) if how == "workers" else ExtractionOptions(scheduler=ADDRESS)
    on_gpu = replace(config, device=device)
    run_extraction(
        make_songs(tmp_path / "songs"), str(tmp_path / "s.zarr"), on_gpu, augment=0, receipt=None, options=options
    )
    assert loaded == ["cpu"]
    assert (
        [worker.precision for worker in sent] == [EmbeddingStore.open(tmp_path / "s.zarr").spec.precision] == ["bf16"]
    )
    assert sent[0].device in ("cuda", device)


@pytest.mark.parametrize(
    ("device", "workers", "line"),
    [
        (
            "cuda:1",
            2,
            r"--device cuda:1 --workers 2: each worker has its own GPU; use --device cuda, and CUDA_",
        ),
        ("auto", 3, r"--workers 3: expected at most one per GPU, found 2 GPUs; use --workers 2, and more --readers"),
        ("cuda", 3, r"--workers 3: expected at most one per GPU, found 2 GPUs; use --workers 2"),
    ],
)
def test_workers_that_do_not_match_the_gpus_are_refused(
    config: ExtractConfig, two_gpus: None, device: str, workers: int, line: str
) -> None:
    with pytest.raises(ClusterError, match=f"^{line}"):
        found(replace(config, device=device), workers=workers)


def test_workers_on_a_cpu_may_outnumber_gpus(config: ExtractConfig) -> None:
    assert found(replace(config, device="cpu"), workers=3).device == "cpu"


@pytest.mark.parametrize(
    ("client", "line"),
    [
        (
            FakeClient(("fp32", ""), threads=4),
            r"tcp://w0 has 4 threads, expected 1, .*; start it with: dask worker --nthreads 1",
        ),
        (
            FakeClient(("bf16", "GPU-1"), ("bf16", "GPU-2"), ("bf16", "GPU-1")),
            r"tcp://w0 and 1 more have the same GPU, GPU-1; start one worker per GPU, each with its own CUDA_VISIBLE_",
        ),
        (
            FakeClient(("bf16", "GPU-1"), ("fp32", "")),
            r"tcp://w0 would use bf16 and tcp://w1 would use fp32; choose one for all with --precision",
        ),
        (FakeClient(DeviceError("device 'cuda' cannot be used here")), r"tcp://w0: device 'cuda' cannot be used here"),
    ],
)
def test_workers_of_a_scheduler_that_cannot_work_together_are_refused(
    config: ExtractConfig, monkeypatch: pytest.MonkeyPatch, client: FakeClient, line: str
) -> None:
    monkeypatch.setattr("pipeline.workers.dask_client", lambda **_: nullcontext(client))
    with pytest.raises(ClusterError, match=f"^--scheduler {ADDRESS}: the worker at {line}"):
        found(config, scheduler=ADDRESS)


def test_workers_without_gpus_may_share_a_machine(config: ExtractConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    client = FakeClient(("fp32", ""), ("fp32", ""))
    monkeypatch.setattr("pipeline.workers.dask_client", lambda **_: nullcontext(client))
    assert found(config, scheduler=ADDRESS) == replace(config, precision="fp32")


def test_workers_here_and_of_a_scheduler_exclude_each_other(config: ExtractConfig) -> None:
    with pytest.raises(ClusterError, match=r"--scheduler tcp://host:8786 --workers 2: expected one of them"):
        found(config, workers=2, scheduler=ADDRESS)
