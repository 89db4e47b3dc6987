"""Run the tests and benchmarks for a GPU, in steps of less than 10 minutes, and write one page of results.

    python -m benchmarks.gpu tests extract train

Without a GPU this is a dry run: the tests are skipped, and benchmarks run at tiny sizes. Exit code 1 means that a
command failed or, on a GPU, that a figure missed its goal. Without the name of a step, only the page is written, from
the journals (*.jsonl) in the folder.
"""

import argparse
import os
import platform
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.gpu.report import NO_GPU, OK, Run, page, read_journal, summary, write_line
from stages.common.machine import count_cores, memory_limit

PAGE = "results.md"


@dataclass(frozen=True, kw_only=True)
class Command:
    """A module of benchmarks, its options on a GPU, those of a dry run, and its limit in seconds."""

    module: str
    options: str = ""
    dry: str = ""
    limit: int


STEPS = {
    "tests": (Command(module="gpu.tests", limit=540),),
    "extract": (
        Command(module="bench_feed", options="--rounds 1", dry="--rounds 1 --readers 1 --songs 1", limit=240),
        Command(
            module="bench_extract",
            options="--profile",
            dry="--profile --sizes tiny --seconds 5 --view-seconds 5",
            limit=300,
        ),
    ),
    "train": (
        Command(
            module="bench_head",
            options="--only step loading",
            dry="--only step loading --batch 1 --frames 150 --songs 4 --repeats 1",
            limit=540,
        ),
    ),
}


def main() -> int:
    """Run the steps; return 1 if any failed or missed a goal."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("steps", metavar="STEP", nargs="*", help=f"{', '.join(STEPS)}")
    parser.add_argument("--results", type=Path, default=Path("build/gpu"), help="folder (default: build/gpu)")
    options = parser.parse_args()
    if unknown := set(options.steps) - set(STEPS):
        parser.error(f"no step named {', '.join(sorted(unknown))}; choose from {', '.join(STEPS)}")
    # As after Ctrl-C, the benchmark that runs is stopped as well.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    options.results.mkdir(parents=True, exist_ok=True)
    for step in options.steps:
        run_step(step, options.results)
    runs = [run for step in options.steps or STEPS for run in _write_page(options.results)[step]]
    print(f"\n{summary(runs)}\n{options.results / PAGE}")
    return 1 if any(run.failed for run in runs) else 0


def run_step(step: str, results: Path) -> None:
    """Run the commands of a step, each in its own process; an earlier journal of the step is replaced."""
    journal = results / f"{step}.jsonl"
    journal.unlink(missing_ok=True)
    facts = machine()
    write_line(journal, machine=facts)
    for command in STEPS[step]:
        load = os.getloadavg()[0]
        write_line(journal, command=command.module, started=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC", load=load)
        _write_page(results)
        begun = time.perf_counter()
        words = command.dry if facts["GPU"] == NO_GPU else command.options
        result = _run([f"benchmarks.{command.module}", *words.split(), "--figures", str(journal)], command.limit)
        write_line(journal, result=result, seconds=time.perf_counter() - begun)


def _run(words: list[str], limit: int) -> str:
    """Run a module of Python; return how it ended. Its process group never outlives it."""
    print(f"\n{' '.join(words)}", flush=True)
    with subprocess.Popen([sys.executable, "-m", *words], process_group=0) as process:
        try:
            code = process.wait(limit)
        except subprocess.TimeoutExpired:
            return f"stopped after {limit} s"
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    return OK if code == 0 else f"exit code {code}"


def _write_page(results: Path) -> dict[str, list[Run]]:
    """Write the page of all steps; return the runs of each."""
    runs = {
        step: read_journal(results / f"{step}.jsonl", [command.module for command in commands])
        for step, commands in STEPS.items()
    }
    (results / PAGE).write_text(page([run for rows in runs.values() for run in rows]), encoding="utf-8")
    return runs


def machine() -> dict[str, str]:
    """What a figure depends on: processor, memory, GPU, driver, and the versions of the code."""
    import torch

    from pipeline.cli.common import stated_version

    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    gpu, memory, driver = _gpu() if torch.cuda.is_available() else (NO_GPU, "", "")
    return {
        "CPU": next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.machine()),
        "cores": str(count_cores()),
        "memory": f"{memory_limit() / 1e9:.0f} GB",
        "GPU": gpu,
        "GPU memory": memory,
        "driver": driver,
        "CUDA": torch.version.cuda or "",
        "torch": torch.__version__,
        "Python": platform.python_version(),
        "HEAR": stated_version(),
    }


def _gpu() -> list[str]:
    """Name, memory and driver of the first GPU. NVIDIA's tool is asked: torch would keep some of the GPU's memory."""
    query = ["nvidia-smi", "--id=0", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    answer = subprocess.run(query, capture_output=True, text=True).stdout if shutil.which(query[0]) else ""
    found = answer.strip().split(", ")
    return found if len(found) == 3 else ["unknown: nvidia-smi does not answer", "", ""]


if __name__ == "__main__":
    sys.exit(main())
