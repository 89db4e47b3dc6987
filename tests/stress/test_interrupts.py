"""Real commands that hear Ctrl-C twice, or are killed, at random moments: each ends, and leaves nothing behind."""

import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

SMALL = ["--size", "small", "--epochs", "200", "--batch-size", "4", "--accumulate", "1", "--track", "2"]
# Far above the two seconds that a quiet machine takes: others may use this one.
SECONDS = 20.0


def command(name: str, *arguments: object) -> list[str]:
    code = f"import sys; sys.argv[0] = 'hear-{name}'; from pipeline.cli.entry import {name}; {name}()"
    return [sys.executable, "-c", code, *map(str, arguments)]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A manifest of short songs, their store, and a head."""
    folder = tmp_path_factory.mktemp("interrupts")
    data = ["--store", folder / "s.zarr", "--manifest", folder / "demo/manifest.csv"]
    for line in (
        command("data", "demo", "--out", folder / "demo", "--songs", 12, "--seconds", 4),
        command("extract", *data, "--preset", "tiny", "--layers", 2, "--augment", 0),
        command("head", "train", *data, *SMALL, "--epochs", 1, "--out", folder / "head"),
    ):
        subprocess.run(line, check=True, capture_output=True, cwd=folder)
    return folder


@pytest.fixture(scope="module")
def silent() -> Iterator[str]:
    """Address of a server that lets everyone connect and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=1000) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture
def commands(place: Path, silent: str) -> Callable[[random.Random, Path], list[str]]:
    """A function that draws a command which writes into a folder."""

    def draw(rng: random.Random, out: Path) -> list[str]:
        manifest = ["--manifest", place / "demo/manifest.csv"]
        data, fresh = ["--store", place / "s.zarr", *manifest], ["--store", out / "s.zarr", *manifest]
        tiny = ["--preset", "tiny", "--layers", "2", "--augment", "5"]
        return rng.choice(
            [
                command("data", "demo", "--out", out, "--songs", 40, "--seconds", 60),
                command("extract", *fresh, *tiny, "--readers", rng.randrange(3)),
                command("extract", *fresh, *tiny, "--workers", 2, "--readers", 1),
                command("extract", *fresh, *tiny, "--scheduler", f"tcp://{silent}"),
                command("extract", *fresh, *tiny, "--dry-run"),
                command("head", "train", *data, *SMALL, "--memory", 0, "--workers", 2, "--out", out / "head"),
                command("head", "ablate", *data, *SMALL, "--parallel", 2, "--out", out / "rows"),
                command("head", "predict", place / "demo/flac", "--checkpoint", place / "head", "--json", out / "j"),
                command("head", "pull", "someone/head", "--out", out / "pulled"),
                command("probe", *data, "--target", "Musicality", "--model", "svr", "--cv", 5, "--out", out / "p.json"),
                command("store", "verify", place / "s.zarr"),
            ]
        )

    return draw


def test_two_interrupts(
    campaign: Any,
    commands: Callable[[random.Random, Path], list[str]],
    silent: str,
    start_process: Any,
    family: Any,
    tmp_path: Path,
) -> None:
    slowest = 0.0
    for rng in campaign:
        out = tmp_path / str(campaign.turn_seed)
        out.mkdir()
        line = commands(rng, out)
        environment = {**os.environ, "HF_ENDPOINT": f"http://{silent}", "HF_HOME": str(out)}
        with (out / "said").open("wb") as said:
            process = start_process(line, stdout=subprocess.DEVNULL, stderr=said, env=environment, cwd=out)
        relatives = family(process.pid)
        time.sleep(rng.uniform(0.0, 15.0))
        left = relatives.shared_memory()
        how = rng.choice(["interrupt", "interrupt", "interrupt", "hang-up", "kill"])
        begun = time.monotonic()
        if how == "interrupt":
            os.killpg(process.pid, signal.SIGINT)
            time.sleep(rng.choice([0.0, 0.1, 1.0]))
            begun = time.monotonic()
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGINT)
        else:
            os.killpg(process.pid, signal.SIGHUP if how == "hang-up" else signal.SIGKILL)
        process.wait(SECONDS)
        seconds = time.monotonic() - begun
        told = (out / "said").read_text(encoding="utf-8", errors="replace")
        print(
            f"{campaign.turn_seed} {how} {process.returncode} {seconds:.2f} s {line[2][29:37]} {line[3:5]} {told[-60:]!r}",
            flush=True,
        )
        if how == "interrupt":
            # The last is Python's own, before the command has begun and after it has ended.
            assert process.returncode in (0, 1, 130, -signal.SIGINT), told
            slowest = max(slowest, seconds)
        assert relatives.is_gone(), relatives.living()
        assert not left, left
        campaign.count(how)
        campaign.count("finished before", process.returncode == 0)
    campaign.count(f"slowest {slowest:.1f} s")
