"""Fixtures of all tests, and protection from the machine's environment."""

import base64
import hashlib
import http.client
import json
import os
import pty
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import unquote, urlsplit

import psutil
import pytest
from hypothesis import HealthCheck, settings

BUCKET = "embeddings"
DOCS = Path(__file__).resolve().parents[1] / "docs"

# Typer (on import) and Rich read these: help and usage errors would have colours.
for name in ("GITHUB_ACTIONS", "FORCE_COLOR", "PY_COLORS", "TTY_COMPATIBLE"):
    os.environ.pop(name, None)
# Test servers are on loopback, where no proxy can reach them.
os.environ["NO_PROXY"] = os.environ["no_proxy"] = "127.0.0.1,localhost"

# The same examples in every run, also on a slow machine.
settings.register_profile(
    "hear", deadline=None, derandomize=True, database=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("hear")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip tests that need a GPU where there is none. torch takes seconds to load: only load it for them."""
    if item.get_closest_marker("cuda"):
        import torch

        if not torch.cuda.is_available():
            pytest.skip("needs a CUDA GPU")


Start = Callable[..., "subprocess.Popen[Any]"]


@pytest.fixture
def start_process() -> Iterator[Start]:
    """A function with the parameters of `Popen`; its processes and their children end with the test."""
    processes: list[subprocess.Popen[Any]] = []

    def start(command: list[str], **options: Any) -> "subprocess.Popen[Any]":
        # A shell's background jobs ignore Ctrl-C, and their children would, too; a handler is not inherited.
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            process = subprocess.Popen(command, start_new_session=True, **options)
        finally:
            signal.signal(signal.SIGINT, before)
        processes.append(process)
        return process

    yield start
    for process in processes:
        with process, suppress(ProcessLookupError):  # leaving it closes the pipes and waits
            os.killpg(process.pid, signal.SIGKILL)


class Family:
    """A process that leads a session, and all its descendants."""

    def __init__(self, leader: int) -> None:
        self.leader = leader

    def living(self) -> list[psutil.Process]:
        """The running processes; in a container without an init, ended ones may remain as zombies."""
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error, ProcessLookupError):
                if os.getsid(process.pid) == self.leader and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
        return found

    def shared_memory(self) -> set[str]:
        """Files in /dev/shm that they have open, and that would remain if all were killed now."""
        mapped: set[int] = set()
        for process in self.living():
            with suppress(OSError):
                lines = Path(f"/proc/{process.pid}/maps").read_text(encoding="utf-8").splitlines()
                # By inode: a semaphore is created under another name than its final one.
                mapped |= {int(line.split()[4]) for line in lines if "/dev/shm/" in line}
        return {entry.name for entry in os.scandir("/dev/shm") if entry.inode() in mapped}

    def is_gone(self, seconds: float = 20.0) -> bool:
        """Whether all processes end within `seconds`."""
        deadline = time.monotonic() + seconds
        while self.living():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)
        return True


@pytest.fixture
def family() -> type[Family]:
    """`Family`, for processes of `start_process`."""
    return Family


@pytest.fixture(scope="session")
def code_in() -> Callable[[str, str], list[str]]:
    """A function (page in docs/, language) → its blocks of code, in order."""

    def blocks(page: str, language: str) -> list[str]:
        text = (DOCS / page).read_text(encoding="utf-8")
        return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)

    return blocks


class Hub:
    """A stub of a hub, over HTTP on loopback: enough for its client library to make, fill, list and read models.

    `models` has the commits of each, oldest first, as files by name; `large` what was uploaded by its SHA-256;
    `requests` every method and path. Writing and private models need the token.
    """

    TOKEN = "hf_of_the_tests"

    def __init__(self, folder: Path) -> None:
        self.models: dict[str, list[dict[str, bytes]]] = {}
        self.private: set[str] = set()
        self.large: dict[str, bytes] = {}
        self.requests: list[str] = []
        self.messages: list[str] = []
        self.xet = folder / "xet"
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (HubHandler,), {"hub": self}))
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def add(self, repo: str, files: dict[str, bytes]) -> str:
        """Add a commit to a model, which is made if needed; return the commit."""
        self.models.setdefault(repo, []).append(files)
        return self.commit(repo)

    def commit(self, repo: str, number: int = -1) -> str:
        """A commit's name: 40 hexadecimal digits."""
        count = len(self.models[repo])
        return hashlib.sha1(f"{repo} {number % count}".encode(), usedforsecurity=False).hexdigest()

    def files(self, repo: str, revision: str = "main") -> dict[str, bytes] | None:
        """The files of a revision; None if there is none."""
        commits = {self.commit(repo, number): files for number, files in enumerate(self.models[repo])}
        return self.models[repo][-1] if revision == "main" else commits.get(revision)

    def stop(self) -> None:
        """Stop answering."""
        self.server.shutdown()
        self.server.server_close()


class HubHandler(BaseHTTPRequestHandler):
    """One request to a `Hub`."""

    hub: Hub
    ROUTES: ClassVar[dict[str, str]] = {
        "POST /api/validate-yaml": "check_card",
        "POST /api/repos/create": "create",
        "GET /api/models/{repo}(?:/revision/{revision})?": "info",
        "GET /api/models/{repo}/tree/{revision}": "tree",
        "POST /api/models/{repo}/preupload/{revision}": "preupload",
        "GET /api/models/{repo}/xet-write-token/{revision}": "xet_token",
        "POST /{repo}.git/info/lfs/objects/batch": "batch",
        "PUT /large/(?P<digest>[0-9a-f]+)": "put_large",
        "(?:GET|HEAD) /large/(?P<digest>[0-9a-f]+)": "get_large",
        "POST /api/models/{repo}/commit/{revision}": "make_commit",
        "(?:GET|HEAD) /{repo}/resolve/{revision}/(?P<name>.+)": "resolve",
    }

    def do_GET(self) -> None:
        called = f"{self.command} {unquote(urlsplit(self.path).path)}"
        self.hub.requests.append(called)
        self.body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        for pattern, name in self.ROUTES.items():
            parts = pattern.replace("{repo}", "(?P<repo>[^/]+/[^/]+?)").replace("{revision}", "(?P<revision>[^/]+)")
            if match := re.fullmatch(parts, called):
                return self.known(name, {k: v for k, v in match.groupdict().items() if v is not None})
        return self.refuse(404, "")

    do_POST = do_PUT = do_HEAD = do_GET  # noqa: N815

    def known(self, name: str, values: dict[str, str]) -> None:
        """Answer if the model and revision exist and the caller has access."""
        repo, writes = values.get("repo"), name in ("create", "preupload", "batch", "make_commit", "xet_token")
        allowed = self.headers.get("authorization") == f"Bearer {self.hub.TOKEN}"
        if (writes and not allowed) or (repo in self.hub.private and not allowed):
            return self.refuse(401, "")
        if repo is not None and repo not in self.hub.models:
            return self.refuse(404, "RepoNotFound")
        if repo is not None and not writes and self.hub.files(repo, values.get("revision", "main")) is None:
            return self.refuse(404, "RevisionNotFound")
        return getattr(self, name)(**values)

    def check_card(self) -> None:
        known = json.loads(self.body)["content"].startswith("---\n")
        self.answer({"errors": [] if known else [{"message": "no metadata"}]}, 200 if known else 400)

    def create(self) -> None:
        asked = json.loads(self.body)
        repo = f"{asked['organization']}/{asked['name']}"
        if repo in self.hub.models:
            return self.answer({"url": f"{self.hub.url}/{repo}"}, 409)
        self.hub.models[repo] = [{".gitattributes": b"*.safetensors filter=lfs\n"}]
        self.hub.private |= {repo} if asked.get("visibility") == "private" else set()
        return self.answer({"url": f"{self.hub.url}/{repo}", "id": repo})

    def info(self, repo: str, revision: str = "main") -> None:
        siblings = [{"rfilename": name} for name in self.hub.files(repo, revision)]
        sha = self.hub.commit(repo) if revision == "main" else revision
        self.answer({"id": repo, "sha": sha, "private": repo in self.hub.private, "siblings": siblings})

    def tree(self, repo: str, revision: str) -> None:
        files = self.hub.files(repo, revision)
        self.answer([{"type": "file", "path": n, "size": len(c), "oid": digest(c)[:40]} for n, c in files.items()])

    def preupload(self, repo: str, revision: str) -> None:
        names = [file["path"] for file in json.loads(self.body)["files"]]
        modes = {name: "lfs" if name.endswith((".safetensors", ".pth")) else "regular" for name in names}
        self.answer({"files": [{"path": n, "uploadMode": m, "shouldIgnore": False} for n, m in modes.items()]})

    def xet_token(self, repo: str, revision: str) -> None:
        self.answer({"casUrl": f"local://{self.hub.xet}", "accessToken": "none", "exp": 4_000_000_000})

    def batch(self, repo: str) -> None:
        objects = json.loads(self.body)["objects"]
        for each in objects:
            each["actions"] = {"upload": {"href": f"{self.hub.url}/large/{each['oid']}"}}
        self.answer({"objects": objects, "transfer": "basic"})

    def put_large(self, digest: str) -> None:
        self.hub.large[digest] = self.body
        self.answer({})

    def get_large(self, digest: str) -> None:
        self.send(200, self.hub.large[digest], {})

    def make_commit(self, repo: str, revision: str) -> None:
        files = dict(self.hub.models[repo][-1])
        for line in map(json.loads, self.body.splitlines()):
            value = line["value"]
            if line["key"] == "header":
                self.hub.messages.append(value["summary"])
            elif line["key"] == "deletedFile":
                del files[value["path"]]
            elif line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            else:
                files[value["path"]] = self.hub.large.get(value["oid"], f"xet {value['oid']}".encode())
        commit = self.hub.add(repo, files)
        self.answer({"commitUrl": f"{self.hub.url}/{repo}/commit/{commit}", "commitOid": commit})

    def resolve(self, repo: str, revision: str, name: str) -> None:
        commit = {"X-Repo-Commit": self.hub.commit(repo) if revision == "main" else revision}
        content = self.hub.files(repo, revision).get(name)
        if content is None:
            return self.refuse(404, "EntryNotFound", commit)
        tag = digest(content)
        if tag not in self.hub.large:
            return self.send(200, content, {"ETag": f'"{tag}"', **commit})
        # Large files are on another host, under their digest.
        elsewhere = self.hub.url.replace("127.0.0.1", "localhost")
        linked = {"X-Linked-Etag": f'"{tag}"', "X-Linked-Size": str(len(content))}
        return self.send(302, b"", {"Location": f"{elsewhere}/large/{tag}", **linked, **commit})

    def answer(self, value: object, status: int = 200) -> None:
        self.send(status, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def refuse(self, status: int, code: str, headers: dict[str, str] | None = None) -> None:
        self.send(status, b"", {**({"X-Error-Code": code} if code else {}), **(headers or {})})

    def send(self, status: int, content: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Print nothing."""


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    """An empty hub for one test."""
    hub = Hub(tmp_path)
    yield hub
    hub.stop()


@pytest.fixture
def on_hub(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    """The same hub, used by this process: logged in, with its own cache."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", hub.url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", hub.url + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_PROGRESS_BARS", True)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr("time.sleep", lambda seconds: None)  # between the client's attempts
    monkeypatch.setattr("stages.common.hub_reach._silent", {})
    monkeypatch.setenv("HF_TOKEN", hub.TOKEN)
    return hub


@pytest.fixture(scope="session")
def s3() -> Iterator[None]:
    """A moto server with the bucket `embeddings`, also for every process started from here."""
    import boto3

    server, port = _start_server()
    settings = {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "NO_PROXY": "127.0.0.1",
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in settings.items():
            patch.setenv(name, value)
        try:
            client = boto3.client("s3")
            client.create_bucket(Bucket=BUCKET)
            client.close()
            yield
        finally:
            server.kill()
            server.wait()


def _start_server() -> tuple["subprocess.Popen[bytes]", int]:
    """Start the server; try another port if another process takes the first one."""
    for _ in range(5):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
        server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for _ in range(1200):
            if server.poll() is not None or _answers(port):
                break
            time.sleep(0.1)
        if server.poll() is None:
            return server, port
        server.wait()
    raise AssertionError("the S3 server has ended, five times")


def _answers(port: int) -> bool:
    """Whether moto, and no other server, listens on the port."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", "/moto-api/")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


@pytest.fixture(scope="module")
def faulty_disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A `FaultyDisk`: a folder below which system calls fail; see `tests/faults/disk.py`."""
    if not sys.platform.startswith("linux") or shutil.which("cc") is None:
        pytest.skip("needs Linux and a C compiler")
    from tests.faults.disk import FaultyDisk

    disk = FaultyDisk(tmp_path_factory.mktemp("faults"))
    try:
        disk.prepare()
        yield disk
    finally:
        disk.close()


# Hostile parts of names: terminal codes, marks that reverse or hide text, markup, formulas.
HOSTILE = (
    *(
        "\x1b[38;5;201m",
        "\x1b[2J",
        "\x1b]0;title\x07",
        "\x1b]8;;http://evil\x1b\\",
        "\x9b5A",
        "\x08\x08",
        "\x7f",
        "\r",
        "\n",
    ),
    *(
        "\u202e",
        "\u2066",
        "\u200b",
        "\u2028",
        "\x85",
        "[red]",
        "[link=http://evil]",
        ":boom:",
        "$\\frac$",
        "=1+1",
        "'",
        '"',
    ),
)
# Codes that rich writes itself: colours and redrawing of bars.
RICHS = re.compile(r"\x1b\[[0-9;]*m|\x1b\[\?25[lh]|\x1b\[[0-9]*[AK]|\r(?=\n|\x1b\[)")
SCRIPT = """
import json, sys
from pipeline.cli.entry import run
for command, *arguments in json.loads(sys.argv[1]):
    sys.argv = [f"hear-{command}", *arguments]
    try:
        run(command)
    except SystemExit:
        pass
"""


@pytest.fixture(scope="session")
def on_terminal() -> Callable[..., str]:
    """A function (commands, folder) → their output on a terminal; no name in it may control the terminal.

    A command is a list such as ["store", "info", "s.zarr"]; all run in one process.
    """

    def run(commands: list[list[str]], folder: Path) -> str:
        ours, theirs = pty.openpty()
        environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "100"}
        process = subprocess.Popen(
            [sys.executable, "-c", SCRIPT, json.dumps(commands)],
            cwd=folder, env=environment, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
        )  # fmt: skip
        os.close(theirs)
        written = bytearray()
        with suppress(OSError), process:  # a closed terminal raises an error
            while part := os.read(ours, 1 << 16):
                written += part
        os.close(ours)
        text = written.decode("utf-8", "surrogateescape")
        assert "\x1b[38;5;201m" not in text
        plain = RICHS.sub("", text)
        wrong = {mark for mark in plain if not (mark.isprintable() or mark in "\n\u200c\u200d")}
        wrong = {mark for mark in wrong if unicodedata.category(mark) != "Zs"}
        assert not wrong, (wrong, plain)
        assert "Traceback" not in plain
        return plain

    return run


@pytest.fixture(scope="session")
def hostile() -> tuple[str, ...]:
    """Hostile parts of names."""
    return HOSTILE
