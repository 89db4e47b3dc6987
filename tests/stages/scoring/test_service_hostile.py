"""The service over real sockets: hostile requests, slow clients, full disks, and the end of the service."""

import errno
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile

from stages.extract.audio.reading import MOST_VALUES, TooLongError, read_audio
from stages.scoring.deadline import Deadline
from stages.scoring.errors import ScoringError
from stages.scoring.over_time import Windows
from stages.scoring.rows import SongScore
from stages.scoring.scorer import Scorer
from stages.scoring.service.app import make_service
from stages.scoring.service.limits import Limits
from stages.scoring.service.server import Server, bound, listen
from tests.stages.scoring.hostile_requests import FILE, REQUESTS, ask, form, mutated, post

HONEST = post(body=b"song")


class FakeScorer:
    """Gives every song a score of 3; a song that begins with `wait` waits for its deadline or for `going`."""

    dimensions = ("A",)
    caution = ""
    scoring = SimpleNamespace(model="sha256:0")
    ensemble = SimpleNamespace(heads=[])

    def __init__(self) -> None:
        self.going = threading.Event()
        self.begun = threading.Event()

    def limited(self, *, longest: float) -> "FakeScorer":
        return self

    def score(self, path: Path, *, deadline: Deadline) -> SongScore:
        if path.read_bytes().startswith(b"wait"):
            self.begun.set()
            while not self.going.is_set():
                if not deadline.remaining:
                    raise ScoringError("too late")
                time.sleep(0.01)
        return SongScore(song_id="", path="", scores={"A": 3.0})


class Service:
    """A service on loopback, with a fake scorer, in this process."""

    def __init__(self, folder: Path, limits: Limits) -> None:
        self.folder, self.scorer = folder, FakeScorer()
        self.app = make_service(self.scorer, limits=limits)  # type: ignore[arg-type]
        self.port = 0

    @contextmanager
    def running(self) -> Iterator["Service"]:
        with bound("127.0.0.1", 0) as sockets:
            listen(sockets)
            self.port = sockets[0].getsockname()[1]
            self.server = Server(self.app, log_level="error")
            self.thread = threading.Thread(target=self.server.run, args=(sockets,), daemon=True)
            self.thread.start()
            try:
                yield self
            finally:
                self.scorer.going.set()
                self.server.should_exit = True
                self.thread.join(20)
                assert not self.thread.is_alive()
        assert list(self.folder.iterdir()) == []

    def ask(self, request: bytes, *, seconds: float = 10.0) -> tuple[int, bytes]:
        return ask(self.port, request, seconds=seconds)

    def open(self, request: bytes) -> socket.socket:
        """Connect and send the beginning of a request."""
        client = socket.create_connection(("127.0.0.1", self.port), timeout=10)
        client.sendall(request)
        return client

    @property
    def files(self) -> list[Path]:
        return [path for path in self.folder.rglob("*") if path.is_file()]


@pytest.fixture
def serve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Service]]:
    """A function (limits) → a running service, whose temporary folder must be empty at the end."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    contexts = []

    def start(**limits: Any) -> Service:
        context = Service(folder, Limits(**limits)).running()
        contexts.append(context)
        return context.__enter__()

    yield start
    for context in contexts:
        context.__exit__(None, None, None)


def read_all(client: socket.socket) -> bytes:
    """Read until the connection is closed."""
    return b"".join(iter(lambda: client.recv(65_536), b""))


def until(condition: Callable[[], bool], *, seconds: float = 10.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_hostile_requests_are_refused_and_an_honest_one_is_answered(
    serve: Callable[..., Service], caplog: pytest.LogCaptureFixture
) -> None:
    service = serve(megabytes=1.0)
    wrong = {}
    for name, (request, expected) in REQUESTS.items():
        status, answer = service.ask(request)
        if status not in expected or not answer.decode().replace("\r\n", "").replace("\n", "").isprintable():
            wrong[name] = (status, answer[-200:])
        assert service.ask(HONEST)[0] == 200, name
    assert wrong == {}
    assert [record for record in caplog.records if record.exc_info] == []
    assert service.files == []


def test_mutated_requests_never_cause_an_internal_error(
    serve: Callable[..., Service], caplog: pytest.LogCaptureFixture
) -> None:
    service = serve(megabytes=1.0)
    rng = random.Random(11)
    for _ in range(250):
        request = mutated(rng)
        with service.open(request) as client, suppress(ConnectionError):
            client.shutdown(socket.SHUT_WR)  # so that the service does not wait for the rest of a cut request
            answer = client.recv(65_536)
            assert not answer.startswith(b"HTTP/1.1 500"), request
    assert service.ask(HONEST)[0] == 200
    assert [record for record in caplog.records if record.exc_info] == []


def test_answers_have_security_headers(serve: Callable[..., Service]) -> None:
    service = serve()
    for request in (b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", post(b"Origin: null"), HONEST):
        _, answer = service.ask(request)
        assert b"\r\nx-content-type-options: nosniff\r\n" in answer
        assert b"\r\ncontent-security-policy: frame-ancestors 'none'\r\n" in answer
        assert b"\r\nserver:" not in answer


def test_every_answer_has_an_id(serve: Callable[..., Service], monkeypatch: pytest.MonkeyPatch) -> None:
    """Also those that the application does not see; reasons are JSON."""
    monkeypatch.setattr("stages.scoring.service.connection.CHECK_SECONDS", 0.1)
    service = serve()
    asked = b"X-Request-ID: mine"
    for request, status, number in [
        (post(asked, body=b"song"), 200, b"mine"),
        (post(asked, b"Content-Length: 9", b"Expect: 100-continue", length=False), 408, b"mine"),
        (b"POST /sc", 408, b""),
        (b"nonsense\r\n\r\n", 400, b""),
        (post(asked, b"Transfer-Encoding: chunked", length=False, body=b"xyz\r\n"), 400, b"mine"),
    ]:
        answer = service.ask(request)[1]
        final = answer[answer.rindex(b"HTTP/1.1 ") :]
        assert final.startswith(b"HTTP/1.1 %d " % status)
        assert b"\r\nx-request-id: " + number in final.lower()
        assert json.loads(final.partition(b"\r\n\r\n")[2]).keys() & {"detail", "scores"}
    until(lambda: not service.server.server_state.connections)
    with monkeypatch.context() as patch, service.open(b""):
        patch.setattr("stages.scoring.service.connection.MOST_CONNECTIONS", 1)
        until(lambda: len(service.server.server_state.connections) == 1)
        status, answer = service.ask(post(asked, body=b"song"))
        assert (status, b"\r\nx-request-id: mine\r\n" in answer.lower()) == (503, True)
    until(lambda: not service.server.server_state.connections)
    metrics = service.ask(b"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")[1].decode()
    assert 'hear_requests_total{endpoint="/score",status="408"} 1.0' in metrics
    assert 'hear_requests_total{endpoint="other",status="408"} 1.0' in metrics
    assert 'hear_requests_total{endpoint="other",status="400"} 1.0' in metrics
    assert 'hear_requests_total{endpoint="/score",status="503"} 1.0' in metrics


def test_a_client_that_leaves_in_the_middle_of_a_batch(serve: Callable[..., Service]) -> None:
    service = serve()
    parts = [b'Content-Disposition: form-data; name="a"; filename="a"\r\n\r\n' + song for song in (b"s", b"wait", b"s")]
    client = service.open(form(*parts, target=b"/score/batch"))
    assert b'"scores": {"A": 3.0}' in client.recv(65_536)
    assert service.scorer.begun.wait(10)
    assert len(service.files) == 2
    client.close()
    assert service.ask(HONEST)[0] == 200
    until(lambda: service.files == [])


def test_names_in_answers_have_no_control_characters(serve: Callable[..., Service]) -> None:
    service = serve(megabytes=1.0)
    for request in (
        post(target=b"/score?name=%1b%5b31m%c2%9b%00.mp3"),
        form(FILE % "\x1b[31m\x9b\t.mp3".encode()),
        post(target=b"/score?name=%1b%c2%9b.mp3", body=b"song"),
    ):
        body = service.ask(request)[1].decode().partition("\r\n\r\n")[2]
        assert body.isprintable()
        assert "\\u00" not in body  # nor as an escape of JSON


@pytest.fixture
def quick_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Check connections every 0.2 s."""
    monkeypatch.setattr("stages.scoring.service.connection.CHECK_SECONDS", 0.2)


@pytest.mark.usefixtures("quick_checks")
@pytest.mark.parametrize(
    ("begun", "answer"),
    [
        (b"", b""),
        (b"POST /score HT", b"HTTP/1.1 408 "),
        (b"POST /score HTTP/1.1\r\nHost: 127.0.0.1\r\nX: ", b"HTTP/1.1 408 "),
        (HONEST + b"POST /sc", b"HTTP/1.1 200 "),
        (post(b"Content-Length: 5000", length=False, body=b"so"), b"HTTP/1.1 408 "),
        (post(b"Transfer-Encoding: chunked", length=False, body=b"1\r\nx\r\n1"), b"HTTP/1.1 408 "),
        (post(b"Origin: null", body=b"song" * 9)[:-3], b"HTTP/1.1 403 "),
        (post(target=b"/nowhere", body=b"song" * 9)[:-3], b"HTTP/1.1 404 "),
        (post(b"Content-Length: 99999999999", length=False), b"HTTP/1.1 413 "),
    ],
)
def test_incomplete_requests_are_closed(serve: Callable[..., Service], begun: bytes, answer: bytes) -> None:
    """Also if the client continues byte by byte: 50 bytes per second are too few."""
    service = serve()
    with service.open(begun) as client:
        end = time.monotonic() + 5
        found = b""
        client.settimeout(0.02)
        while time.monotonic() < end:
            with suppress(TimeoutError):
                try:
                    client.sendall(b"a" if begun.endswith((b": ", b"x", b"so")) else b"")
                    part = client.recv(65_536)
                except ConnectionError:
                    break
                if not part:
                    break
                found += part
        assert time.monotonic() < end
    assert found.startswith(answer)
    until(lambda: service.files == [] and not service.server.server_state.connections)


@pytest.mark.usefixtures("quick_checks")
def test_a_client_that_does_not_read_its_answer_is_closed(serve: Callable[..., Service]) -> None:
    service = serve()
    service.app.add_api_route("/large", lambda: "a" * 20_000_000)
    with service.open(b"GET /large HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"):
        until(lambda: len(service.server.server_state.connections) == 1)
        until(lambda: not service.server.server_state.connections)


def test_slow_uploads_do_not_delay_others(serve: Callable[..., Service]) -> None:
    """Far more uploads than may wait have begun; a complete one is scored at once."""
    service = serve(waiting=1)
    slow = [service.open(post(b"Content-Length: 5000", length=False, body=b"so")) for _ in range(40)]
    until(lambda: len(service.files) == 40)
    for _ in range(5):
        assert service.ask(HONEST)[0] == 200
    for client in slow:
        client.close()
    until(lambda: service.files == [])


def test_the_numbers_of_uploads_and_connections_are_limited(
    serve: Callable[..., Service], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stages.scoring.service.open_request.MOST_UPLOADS", 2)
    monkeypatch.setattr("stages.scoring.service.connection.MOST_CONNECTIONS", 4)
    service = serve(megabytes=0.1, waiting=0)
    begun = post(b"Content-Length: 90000", length=False, body=b"so")
    slow = [service.open(begun) for _ in range(2)]
    until(lambda: len(service.files) == 2)
    status, answer = service.ask(HONEST)
    assert (status, b"too many uploads at once (at most 2)" in answer) == (503, True)
    assert b"\r\nretry-after: 10\r\n" in answer.lower()
    slow += [service.open(b"") for _ in range(2)]
    until(lambda: len(service.server.server_state.connections) == 4)
    status, answer = service.ask(HONEST)
    assert (status, b"too many connections" in answer) == (503, True)
    assert b"\r\nretry-after: 10\r\n" in answer.lower()
    slow += [service.open(b"") for _ in range(4)]
    assert service.ask(HONEST) == (0, b"")
    for client in slow:
        client.close()
    until(lambda: not service.server.server_state.connections)
    assert service.ask(HONEST)[0] == 200


def test_the_slowest_upload_gives_way(serve: Callable[..., Service], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stages.scoring.service.open_request.MOST_UPLOADS", 2)
    monkeypatch.setattr("stages.scoring.service.open_request.YOUNG", 0.0)
    service = serve()
    fast, slow = (service.open(post(b"Content-Length: 90000", length=False, body=bytes(n))) for n in (80_000, 2))
    until(lambda: sum(path.stat().st_size for path in service.files) == 80_002)
    assert service.ask(HONEST)[0] == 200
    assert b"the slowest of too many at once" in slow.recv(65_536)
    fast.sendall(bytes(10_000))
    assert fast.recv(65_536).startswith(b"HTTP/1.1 200 ")
    for client in (fast, slow):
        client.close()


def test_the_total_size_of_uploads_is_limited(serve: Callable[..., Service]) -> None:
    """The limit is 0.2 MB for songs of 0.1 MB of which none may wait."""
    service = serve(megabytes=0.1, waiting=0)
    slow = [service.open(post(b"Content-Length: 90000", length=False, body=bytes(80_000))) for _ in range(2)]
    until(lambda: sum(path.stat().st_size for path in service.files) == 160_000)
    status, answer = service.ask(post(body=bytes(80_000)))
    assert (status, b"the disk space for uploads is used up" in answer) == (503, True)
    assert service.ask(HONEST)[0] == 200
    for client in slow:
        client.close()


@pytest.mark.parametrize("where", ["open", "write"])
def test_a_full_disk_is_reported(serve: Callable[..., Service], monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    """The whole request is read although its first block is refused; otherwise many clients would miss the answer."""
    number, fdopen = 0, os.fdopen

    def full(*args: Any, **options: Any) -> Any:
        raise OSError(number, os.strerror(number))

    def full_file(*args: Any, **options: Any) -> Any:
        file = fdopen(*args, **options)
        return SimpleNamespace(write=full, close=file.close)

    service = serve()
    requests = [post(b"Connection: close", body=b"song" * 999_999), form(FILE % b"a" + bytes(3_000_000))]
    for number, status in [(errno.ENOSPC, 507), (errno.EDQUOT, 507), (errno.EIO, 507), (errno.EMFILE, 503)]:
        for request in requests:
            with monkeypatch.context() as patch:
                patch.setattr(*(("tempfile.mkstemp", full) if where == "open" else ("os.fdopen", full_file)))
                found, answer = service.ask(request)
            assert found == status
            assert status == 503 or os.strerror(number).encode() in answer
            assert service.ask(HONEST)[0] == 200
    assert service.files == []


def test_a_deleted_upload_folder_is_created_again(serve: Callable[..., Service]) -> None:
    service = serve()
    assert service.ask(HONEST)[0] == 200
    (folder,) = service.folder.iterdir()
    assert folder.name.startswith("hear-serve-")
    assert folder.stat().st_mode & 0o777 == 0o700
    folder.rmdir()
    assert service.ask(HONEST)[0] == 200


def test_a_song_ends_when_its_client_disconnects(serve: Callable[..., Service]) -> None:
    """Also songs that wait in the queue."""
    service = serve()
    clients = [service.open(post(body=b"wait")) for _ in range(3)]
    assert service.scorer.begun.wait(10)
    until(lambda: len(service.files) == 3)
    for client in clients:
        client.close()
    assert service.ask(HONEST)[0] == 200
    assert service.files == []


def test_a_song_that_takes_too_long_ends(serve: Callable[..., Service]) -> None:
    service = serve(seconds=1.0)
    status, answer = service.ask(post(body=b"wait"))
    assert (status, b"not scored within 1 s" in answer) == (504, True)
    assert service.ask(HONEST)[0] == 200


def test_a_stop_ends_uploads_and_waiting_songs_at_once_and_the_running_song_after_the_grace_period(
    serve: Callable[..., Service], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stages.scoring.service.scoring_queue.GRACE", 2.0)
    service = serve()
    running = service.open(post(body=b"wait"))
    assert service.scorer.begun.wait(10)
    waiting = service.open(post(body=b"wait"))
    upload = service.open(post(b"Content-Length: 5000", length=False, body=b"so"))
    head = service.open(b"POST /sc")
    until(lambda: len(service.files) == 3)
    service.server.should_exit = True
    assert b"the service is stopping" in read_all(waiting)
    assert b"the service is stopping" in read_all(upload)
    assert read_all(head) == b""
    running.setblocking(False)
    with pytest.raises(BlockingIOError, match="temporarily unavailable"):
        running.recv(9_999)
    running.settimeout(10)
    assert b"the service is stopping" in read_all(running)
    service.thread.join(5)
    assert not service.thread.is_alive()
    assert list(service.folder.iterdir()) == []
    for client in (running, waiting, upload, head):
        client.close()


def test_a_stop_lets_a_song_finish(serve: Callable[..., Service]) -> None:
    service = serve()
    running = service.open(post(body=b"wait"))
    assert service.scorer.begun.wait(10)
    service.server.should_exit = True
    time.sleep(0.3)
    service.scorer.going.set()
    assert read_all(running).startswith(b"HTTP/1.1 200 ")
    running.close()


def test_a_stop_ends_a_batch_with_a_row_for_each_song(serve: Callable[..., Service]) -> None:
    service = serve()
    parts = [FILE % b"a", b'Content-Disposition: form-data; filename="b"\r\n\r\nwait', FILE % b"c"]
    with service.open(form(*parts, target=b"/score/batch")) as client:
        assert service.scorer.begun.wait(10)
        service.server.should_exit = True
        until(lambda: service.app.state.queue.stopping)
        service.scorer.going.set()
        answer = read_all(client)
    assert answer.count(b'"scores": {"A": 3.0}') == 2
    assert answer.count(b'"song_id": "c", "path": "c", "scores": {}, "error": "the service is stopping"') == 1
    assert answer.endswith(b"0\r\n\r\n")


# Imports everything once, then runs one service per folder, each in its own process, and writes their exit codes.
_PROCESSES = """
import os, sys, tempfile, time
from types import ModuleType, SimpleNamespace
from pipeline.cli.entry import run
from stages.scoring.service import app, scoring_queue, server

class Fake:
    dimensions, caution, scoring, ensemble = ("A",), "", SimpleNamespace(model="m"), SimpleNamespace(heads=[])
    limited = lambda self, longest: self
    score = lambda self, path, deadline: time.sleep(60)  # one operation of a model, which nothing interrupts

# Instead of the real one, which loads torch.
sys.modules["stages.scoring.scorer"] = ModuleType("scorer")
sys.modules["stages.scoring.scorer"].Scorer = SimpleNamespace(load=lambda *heads, **about: Fake())
folders = {}
for folder in sys.argv[1:]:
    process = os.fork()
    if not process:
        with open(folder + "/grace") as file:
            scoring_queue.GRACE = server.GRACE = float(file.read())
        tempfile.tempdir = folder + "/temporary"
        os.mkdir(tempfile.tempdir)
        os.dup2(os.open(folder + "/error", os.O_CREAT | os.O_WRONLY), 2)
        sys.argv = ["hear-serve", "--checkpoint", "fake", "--port", "0"]
        run("serve")
    folders[process] = folder
    print(process, flush=True)
while folders:
    process, status = os.wait()
    with open(folders.pop(process) + "/code", "w") as file:
        print(os.waitstatus_to_exitcode(status), file=file)
"""

# Signals, whether a song is being scored, the exit code, and the grace period in seconds (60 where it must not matter).
ENDS = [
    ([signal.SIGTERM], False, -signal.SIGTERM, 60),
    ([signal.SIGTERM], True, -signal.SIGTERM, 1),
    ([signal.SIGINT], False, 130, 60),
    ([signal.SIGINT], True, 130, 1),
    ([signal.SIGINT, signal.SIGINT], True, 130, 60),
    ([signal.SIGTERM, signal.SIGINT], True, -signal.SIGTERM, 60),
]


def test_signals_end_the_process_and_leave_no_file(
    start_process: Callable[..., "subprocess.Popen[str]"], tmp_path: Path
) -> None:
    """While an upload arrives, with and without a song in an operation that cannot be interrupted."""
    folders = [tmp_path / str(number) for number in range(len(ENDS))]
    for folder, (*_, grace) in zip(folders, ENDS, strict=True):
        folder.mkdir()
        (folder / "grace").write_text(str(grace))
    services = start_process([sys.executable, "-c", _PROCESSES, *map(str, folders)], stdout=subprocess.PIPE, text=True)
    assert services.stdout is not None
    processes = [int(services.stdout.readline()) for _ in folders]
    with ThreadPoolExecutor(len(ENDS)) as threads:
        list(threads.map(end_service, folders, processes, ENDS))
    for folder, (_, _, code, _) in zip(folders, ENDS, strict=True):
        assert (folder / "code").read_text() == f"{code}\n"
        error = (folder / "error").read_text()
        assert "Traceback" not in error, error
        assert error.endswith("hear-serve: interrupted\n") == (code == 130), error
        assert list((folder / "temporary").iterdir()) == []


def end_service(folder: Path, process: int, end: tuple[list[signal.Signals], bool, int, int]) -> None:
    """Begin uploads, send the signals, and wait for the end, which must come in far less than a minute."""
    log = folder / "error"
    until(lambda: log.exists() and "Serving on" in log.read_text(), seconds=30)
    port = int(log.read_text().split("Serving on http://127.0.0.1:")[1].split()[0])
    signals, song, *_ = end
    with ExitStack() as clients:
        for request in [post(b"Content-Length: 5000", length=False, body=b"so"), HONEST][: 1 + song]:
            clients.enter_context(socket.create_connection(("127.0.0.1", port), timeout=10)).sendall(request)
        until(lambda: len(list((folder / "temporary").rglob("tmp*"))) == 1 + song)
        for number, one in enumerate(signals):
            time.sleep(0.3 * number)
            os.kill(process, one)
        until(lambda: (folder / "code").exists() and (folder / "code").read_text() != "", seconds=30)


def test_models_stop_at_the_deadline(head_folders: Path, tmp_path: Path) -> None:
    """At the first, a middle and the last check of the time, within the encoders and the head."""
    rng = np.random.default_rng(0)
    song = tmp_path / "a.flac"
    soundfile.write(song, rng.standard_normal(48_000) * 0.1, 24_000)
    scorer = Scorer.load(head_folders / "0", windows=Windows(1.0, 0.5), device="cpu", precision="fp32")
    limited = scorer.limited(longest=60)
    expected = scorer.score(song)
    assert limited.score(song, deadline=Deadline(60)) == expected

    class Counted(Deadline):
        def __init__(self, checks: int) -> None:
            super().__init__(60)
            self.checks = checks

        @property
        def remaining(self) -> float:
            self.checks -= 1
            return 60.0 if self.checks >= 0 else 0.0

    whole = Counted(1_000_000)
    assert limited.score(song, deadline=whole) == expected
    for checks in (1, 40, 999_999 - whole.checks):
        with pytest.raises(ScoringError, match="the time limit for this song has passed"):
            limited.score(song, deadline=Counted(checks))
    ended = Deadline(60)
    ended.expire()
    with pytest.raises(ScoringError, match=r"took longer than 0\.001 s|the time limit for this song has passed"):
        limited.score(song, deadline=ended)
    assert limited.score(song) == expected


@pytest.mark.parametrize(("rate", "channels"), [(655_350, 1), (96_000, 8), (192_000, 3)])
def test_a_song_s_samples_are_limited_too(tmp_path: Path, rate: int, channels: int) -> None:
    """A short song with many samples must not cost more than the longest one in stereo at 192 kHz."""
    path = tmp_path / "a.wav"
    soundfile.write(path, np.zeros((rate // 2, channels)), rate, subtype="PCM_U8")
    most = rate * channels / 2 / MOST_VALUES
    assert read_audio(path, longest=most + 0.01).seconds == pytest.approx(0.5)
    if most > 0.6:
        with pytest.raises(TooLongError, match="samples in all channels, the most allowed"):
            read_audio(path, longest=most - 0.1)


def test_a_used_port_and_a_wrong_host_give_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from pipeline.cli.entry import run

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for host, error in (
            ("127.0.0.1", "Address already in use"),
            ("999.1.1.1", ""),
            ("203.0.113.1", "Cannot assign requested address"),
            ("a" * 300, ""),
        ):
            options = ["--checkpoint", "gone", "--host", host, "--port", str(port)]
            monkeypatch.setattr("sys.argv", ["hear-serve", *options])
            with pytest.raises(SystemExit, match="1"):
                run("serve")
            line = capsys.readouterr().err
            assert line.startswith(f"hear-serve: --host {host} --port {port}: cannot listen there: {error}")
            assert line.count("\n") == 1


def test_the_port_is_taken_while_models_load() -> None:
    with bound("127.0.0.1", 0) as sockets, socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(sockets[0].getsockname())
        other.listen()
        with pytest.raises(ScoringError, match="cannot listen there: Address already in use"):
            listen(sockets)


def test_a_host_name_may_have_addresses_of_other_machines(monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as `localhost` without IPv6; at least one address must work, and all share a port."""
    absent, first, second = (
        (socket.AF_INET, 0, 0, "", (host, 0)) for host in ("203.0.113.1", "127.0.0.1", "127.0.0.2")
    )
    monkeypatch.setattr("socket.getaddrinfo", lambda *place, **options: [absent, first, second])
    with bound("here", 0) as sockets:
        (one, port), (other, same) = (each.getsockname() for each in sockets)
    assert (one, other, same) == ("127.0.0.1", "127.0.0.2", port)
    monkeypatch.setattr("socket.getaddrinfo", lambda *place, **options: [absent, absent])
    with pytest.raises(ScoringError, match="Cannot assign requested address"), bound("here", 0):
        pass
