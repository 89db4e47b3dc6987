"""Real commands that get Ctrl-C twice, lose their terminal or are killed at any moment: each ends completely.

And readers of audio that are stopped, at any moment: each costs its own call.
"""

import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stages.common.processes import LostProcessError, Processes
from store import verify

SMALL = ["--size", "small", "--epochs", "200", "--batch-size", "4", "--accumulate", "1", "--track", "2"]
# An idle machine needs at most two seconds; this one may be busy.
SECONDS = 20.0

Draw = Callable[[random.Random, Path], list[str]]


def command(name: str, *arguments: object) -> list[str]:
    code = f"import sys; sys.argv[0] = 'hear-{name}'; from pipeline.cli.entry import run; run({name!r})"
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
    """Address of a server that accepts every connection and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=1000) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture
def draw(place: Path, silent: str) -> Draw:
    """A function that draws a command that writes into a folder."""

    def one(rng: random.Random, out: Path) -> list[str]:
        manifest = ["--manifest", place / "demo/manifest.csv"]
        data, fresh = ["--store", place / "s.zarr", *manifest], ["--store", out / "s.zarr", *manifest]
        tiny = ["--preset", "tiny", "--layers", "2", "--augment", "5"]
        probe = ["--target", "Musicality", "--model", rng.choice(["svr", "ridge"]), "--cv", 5]
        commands = [
            command("data", "demo", "--out", out, "--songs", 40, "--seconds", 60),
            command("extract", *fresh, *tiny, "--readers", rng.randrange(3)),
            command("extract", *fresh, *tiny, "--workers", 2, "--readers", 1),
            command("extract", *fresh, *tiny, "--scheduler", f"tcp://{silent}"),
            command("extract", *fresh, *tiny, "--dry-run"),
            command("head", "train", *data, *SMALL, "--memory", 0, "--workers", 2, "--out", out / "head"),
            command("head", "ablate", *data, *SMALL, "--parallel", 2, "--out", out / "rows"),
            command("head", "predict", place / "demo/flac", "--checkpoint", place / "head", "--json", out / "j"),
            command("head", "pull", "someone/head", "--out", out / "pulled"),
            command("probe", *data, *probe, "--out", out / "p.json"),
            command("store", "verify", place / "s.zarr"),
        ]
        return rng.choice(commands)

    return one


def test_ends(campaign: Any, draw: Draw, silent: str, start_process: Any, family: Any, tmp_path: Path) -> None:
    slowest, slow = 0.0, [""]
    for rng in campaign:
        out = tmp_path / str(campaign.turn_seed)
        out.mkdir()
        line = draw(rng, out)
        environment = {**os.environ, "HF_ENDPOINT": f"http://{silent}", "HF_HOME": str(out)}
        with (out / "said").open("wb") as said:
            process = start_process(line, stdout=subprocess.DEVNULL, stderr=said, env=environment, cwd=out)
        relatives = family(process.pid)
        time.sleep(rng.uniform(0.0, 15.0))
        left, how = relatives.shared_memory(), rng.choice(["interrupt", "interrupt", "terminate", "hang-up", "kill"])
        seconds = end(process, how, pause=rng.choice([0.1, 0.3, 1.0]))
        told = (out / "said").read_text(encoding="utf-8", errors="replace")
        assert relatives.is_gone(), relatives.living()
        assert not left, f"{line}: a kill would leave {left}"
        if how == "interrupt":
            # Before a command starts and after it ends, Python itself handles Ctrl-C and ends by the signal.
            assert process.returncode in (0, 1, 130, -signal.SIGINT), told
            if seconds > slowest:
                slowest, slow = seconds, line
        if (out / "s.zarr/zarr.json").exists():
            assert verify(str(out / "s.zarr")).problems == []
        campaign.count(f"{how}s" if process.returncode else "ended by themselves")
    campaign.count(f"tenths of a second at most from the second Ctrl-C to the end, of {slow[2:6]}", round(10 * slowest))


def end(process: "subprocess.Popen[bytes]", how: str, *, pause: float) -> float:
    """Send the signals of a terminal, a service manager or a kill; return the seconds from the last one to the end."""
    numbers = {
        "interrupt": [signal.SIGINT, signal.SIGINT],
        "terminate": [signal.SIGTERM, signal.SIGTERM],
        "hang-up": [signal.SIGHUP],
        "kill": [signal.SIGKILL],
    }[how]
    for place, number in enumerate(numbers):
        if place:
            # Two signals at the same moment may arrive as one: the kernel does not queue them.
            time.sleep(pause)
        begun = time.monotonic()
        if process.poll() is None:
            os.killpg(process.pid, number)
    process.wait(SECONDS)
    return time.monotonic() - begun


def test_stopped_readers(campaign: Any) -> None:
    with Processes(2) as pool:
        for rng in campaign:
            pool.call(60.0, np.ones, 1)  # the same process makes the next call: it has loaded NumPy
            reader = pool.call(60.0, os.getpid)
            size, limit = rng.choice([0, 1_000, 100_000_000]), 1.0
            stop = threading.Timer(rng.choice([0.0, rng.uniform(0.0, 0.3)]), os.kill, (reader, signal.SIGSTOP))
            begun = time.monotonic()
            stop.start()
            try:
                assert len(pool.call(limit, np.ones, size)) == size
                campaign.count("done before")
            except LostProcessError:
                campaign.count("lost")
            assert time.monotonic() - begun < limit + SECONDS
            stop.join()
            # A process that was stopped after its call makes the next call fail.
            try:
                pool.call(limit, int)
            except LostProcessError:
                campaign.count("lost later")
            assert pool.call(60.0, int) == 0
