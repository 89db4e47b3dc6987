"""`hear-serve` under hostile requests and slow clients: honest clients get answers, and no resource leaks."""

import os
import random
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
import pytest
import soundfile
import torch

from stages.extract.config import ExtractConfig
from stages.extract.encoders import load_multiscale
from stages.head.checkpoint.head import Head, HeadConfig
from stages.head.checkpoint.saved import save_head
from stages.head.model.hear import HearHead
from stages.head.model.sizes import preset_sizes
from stages.scoring.scorer import Scorer
from stages.songs import DIMENSIONS
from tests.stages.scoring.hostile_requests import HOST, REQUESTS, ask, form, mutated, post, status

# Hostile requests per turn, simultaneous clients that send them, and slow clients.
REQUESTS_A_TURN, CLIENTS, SLOW = 250, 8, 200
ALLOWED = {0, 200, 400, 403, 404, 405, 408, 413, 422, 503, 504, 507}
# First bytes of requests, which slow clients continue one byte at a time.
BEGUN = [
    b"",
    b"POST /sc",
    b"GET / HTTP/1.1\r\n" + HOST + b"X: ",
    post(b"Content-Length: 99999999", length=False, body=b"fLaC"),
    post(b"Transfer-Encoding: chunked", length=False, body=b"5\r\nfLaC"),
    form(b'Content-Disposition: form-data; name="a"; filename="a"\r\n\r\n' + bytes(99_999))[:-9],
    post(b"Content-Length: 99999999", length=False, target=b"/nowhere"),
    # Many answers that the client never reads.
    (b"GET / HTTP/1.1\r\n" + HOST + b"\r\n") * 200,
]


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small untrained head on the tiny encoders."""
    encoders = load_multiscale(preset="tiny", layers=(2,), device="cpu", precision="fp32")
    config = ExtractConfig(preset="tiny", muq="", musicfm="", layers=(2,))
    torch.manual_seed(0)
    sizes = preset_sizes("small", features=len(encoders.streams) * encoders.channels, classes=len(DIMENSIONS))
    head_config = HeadConfig(
        sizes=sizes, dimensions=DIMENSIONS, streams=encoders.streams, spec=config.spec(encoders).to_json()
    )
    folder = tmp_path_factory.mktemp("head") / "head"
    save_head(folder, Head(HearHead(sizes), head_config))
    return folder


@contextmanager
def slow_clients(port: int, counts: Counter[str]) -> Iterator[None]:
    """Clients that each send a byte now and then, and reconnect when the server closes the connection."""
    over = threading.Event()

    def go_on() -> None:
        clients: dict[int, socket.socket] = {}
        while not over.wait(0.5):
            for number in range(SLOW):
                with suppress(BlockingIOError):
                    try:
                        clients[number].send(b"a")
                    except (KeyError, OSError) as error:
                        if isinstance(error, BlockingIOError):
                            continue
                        if number in clients:
                            counts["slow clients closed"] += 1
                            clients.pop(number).close()
                        with suppress(OSError):
                            clients[number] = socket.create_connection(("127.0.0.1", port), timeout=5)
                            clients[number].setblocking(False)
                            clients[number].send(BEGUN[number % len(BEGUN)])
        for client in clients.values():
            client.close()

    thread = threading.Thread(target=go_on)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@contextmanager
def honest_client(home: str, song: bytes, expected: dict[str, float], counts: Counter[str]) -> Iterator[list[str]]:
    """A client that sends a song repeatedly; yields a list that collects wrong answers."""
    over, wrong = threading.Event(), []

    def go_on() -> None:
        while not over.is_set():
            as_form = {"files": {"audio": ("a.flac", song)}}
            body: dict[str, Any] = as_form if counts["honest scored"] % 2 else {"content": song}
            begun = time.monotonic()
            try:
                answer = httpx.post(f"{home}/score", timeout=60, **body)
            except httpx.HTTPError as error:
                wrong.append(repr(error))
                continue
            counts["longest answer (ms)"] = max(counts["longest answer (ms)"], int(1000 * (time.monotonic() - begun)))
            if answer.status_code == 200 and answer.json()["scores"] == expected:
                counts["honest scored"] += 1
            elif answer.status_code == 503 and "retry-after" in answer.headers:
                counts["honest 503"] += 1
                over.wait(0.2)
            else:
                wrong.append(f"{answer.status_code} {answer.text}")

    thread = threading.Thread(target=go_on)
    thread.start()
    try:
        yield wrong
    finally:
        over.set()
        thread.join()


def hostile(port: int, rng: random.Random, song: bytes) -> tuple[str, bytes]:
    """Send one random hostile request; return its kind and the answer."""
    kind = rng.choice(["table", "table", "changed", "changed", "left", "song"])
    if kind == "table":
        return kind, ask(port, rng.choice(list(REQUESTS.values()))[0], seconds=30)[1]
    if kind == "song":
        data = bytearray(song[: rng.randrange(1, len(song))] if rng.randrange(2) else song)
        for _ in range(rng.randrange(20)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        return kind, ask(port, post(body=bytes(data)), seconds=60)[1]
    with socket.create_connection(("127.0.0.1", port), timeout=60) as client, suppress(ConnectionError, TimeoutError):
        if kind == "left":
            client.sendall(post(b"Content-Length: 999999", length=False, body=song[: rng.randrange(len(song))]))
            # Closing resets the connection.
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", rng.randrange(2), 0))
            return kind, b""
        client.sendall(mutated(rng))
        client.shutdown(socket.SHUT_WR)
        return kind, client.recv(65_536)
    return kind, b""


def weight(process: psutil.Process) -> tuple[int, int, int]:
    """Memory in MB of a process and its children, its open files, and its threads."""
    memory = sum(one.memory_info().rss for one in [process, *process.children(recursive=True)])
    return memory // 2**20, process.num_fds(), process.num_threads()


def test_hostile_requests_and_slow_clients(
    campaign: Any, head: Path, tmp_path: Path, start_process: Callable[..., "subprocess.Popen[bytes]"]
) -> None:
    song_file, log, place = tmp_path / "a.flac", tmp_path / "log", tmp_path / "temporary"
    place.mkdir()
    soundfile.write(song_file, np.random.default_rng(0).standard_normal(120_000) * 0.1, 24_000)
    song = song_file.read_bytes()
    expected = Scorer.load(head, device="cpu").score(song_file).scores
    with log.open("wb") as file:
        code = "from pipeline.cli.entry import run; run('serve')"
        options = ["--port", "0", "--device", "cpu", "--checkpoint", str(head)]
        places = {**os.environ, "TMPDIR": str(place)}
        service = start_process([sys.executable, "-c", code, *options], stderr=file, stdout=file, env=places)
    while b"Serving on" not in log.read_bytes():
        assert service.poll() is None, log.read_text()
        time.sleep(0.1)
    port = int(log.read_text().split("Serving on http://127.0.0.1:")[1].split()[0])
    home, process = f"http://127.0.0.1:{port}", psutil.Process(service.pid)
    for _ in range(20):
        assert httpx.post(f"{home}/score", content=song, timeout=60).json()["scores"] == expected
    before, highest = weight(process), 0
    with (
        slow_clients(port, campaign.counts),
        honest_client(home, song, expected, campaign.counts) as wrong,
        ThreadPoolExecutor(CLIENTS) as clients,
    ):
        for rng in campaign:
            each = [random.Random(rng.random()) for _ in range(REQUESTS_A_TURN)]
            for kind, answer in clients.map(lambda one: hostile(port, one, song), each):
                campaign.count(f"hostile ({kind})")
                campaign.count(f"answers {status(answer)}")
                assert status(answer) in ALLOWED, answer
                assert status(answer) != 503 or b"\r\nretry-after: " in answer.lower()
            assert wrong == []
            highest = max(highest, weight(process)[0])
    end = time.monotonic() + 30
    while process.net_connections("tcp")[1:] and time.monotonic() < end:
        time.sleep(0.2)
    after = weight(process)
    campaign.counts["MB before"], campaign.counts["MB at most"], campaign.counts["MB after"] = (
        before[0],
        highest,
        after[0],
    )
    campaign.counts["open files before"], campaign.counts["open files after"] = before[1], after[1]
    campaign.counts["threads before"], campaign.counts["threads after"] = before[2], after[2]
    assert highest < before[0] + 300
    assert after[1] <= before[1] + 2
    assert after[2] <= before[2] + 1
    assert [path for path in place.rglob("*") if path.is_file()] == []
    service.send_signal(signal.SIGTERM)
    assert service.wait(10) == -signal.SIGTERM
    assert list(place.iterdir()) == []
    assert "Traceback" not in log.read_text(errors="replace")
