"""Extraction on a GPU: one worker of dask-cuda, and a run that was killed, give the bytes of an undisturbed run."""

import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.extraction import ExtractionOptions, run_extraction
from stages.extract.config import ExtractConfig
from store import EmbeddingStore

Records = Callable[[Path], dict[str, bytes]]
Begin = Callable[..., "subprocess.Popen[str]"]

SECONDS = 300

# dask-cuda's own warnings differ from release to release.
pytestmark = [pytest.mark.cuda, pytest.mark.filterwarnings("ignore")]


@pytest.fixture(scope="module")
def on_gpu(config: ExtractConfig) -> ExtractConfig:
    return replace(config, device="cuda")


@pytest.fixture(scope="module")
def songs(tmp_path_factory: pytest.TempPathFactory, make_songs: Callable[..., Path]) -> Path:
    return make_songs(tmp_path_factory.mktemp("songs"), count=6)


@pytest.fixture(scope="module")
def undisturbed(
    tmp_path_factory: pytest.TempPathFactory, songs: Path, on_gpu: ExtractConfig, record_bytes: Records
) -> dict[str, bytes]:
    root = tmp_path_factory.mktemp("alone") / "s.zarr"
    run_extraction(songs, str(root), on_gpu, augment=1, receipt=None, options=ExtractionOptions())
    assert len(EmbeddingStore.open(root)) == 12
    return record_bytes(root)


def test_one_worker_of_dask_cuda_writes_the_same_bytes(
    tmp_path: Path, songs: Path, on_gpu: ExtractConfig, undisturbed: dict[str, bytes], record_bytes: Records
) -> None:
    pytest.importorskip("dask_cuda", reason="needs the extra cuda")
    root, options = tmp_path / "s.zarr", ExtractionOptions(workers=1)
    summary = run_extraction(songs, str(root), on_gpu, augment=1, receipt=None, options=options)
    assert (summary.tally.done, summary.tally.failures) == (12, [])
    assert record_bytes(root) == undisturbed


def test_a_killed_run_resumes_to_the_same_bytes(
    tmp_path: Path,
    songs: Path,
    on_gpu: ExtractConfig,
    undisturbed: dict[str, bytes],
    record_bytes: Records,
    start_process: Begin,
) -> None:
    root = tmp_path / "s.zarr"
    script = "from pipeline.cli.entry import run; run('extract')"
    options = ["--manifest", str(songs), "--store", str(root), "--augment", "1", "--readers", "0", "--device", "cuda"]
    command = [sys.executable, "-c", script, *options, "--preset", "tiny", "--layers", "2", "--seed", "3"]
    run = start_process(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + SECONDS
    while not list(root.glob("records/*/*/*/zarr.json")) and run.poll() is None and time.monotonic() < deadline:
        time.sleep(0.001)
    run.kill()
    _, said = run.communicate(timeout=SECONDS)
    assert run.returncode == -9, said
    before = len(EmbeddingStore.open(root))
    summary = run_extraction(songs, str(root), on_gpu, augment=1, receipt=None, options=ExtractionOptions())
    assert (summary.skipped, summary.tally.done) == (before, 12 - before)
    assert 0 < before < 12
    assert record_bytes(root) == undisturbed
