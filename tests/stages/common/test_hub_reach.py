"""An unreachable hub: one line at once, no retries, and cached files are used."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

from stages.common import hub as hub_module
from stages.common import hub_reach
from stages.common.hub import (
    HubError,
    HubFileMissingError,
    HubFileTooLargeError,
    download,
    download_dataset,
    fetch_small,
    list_files,
    upload,
)
from stages.extract.encoders.errors import EncoderError
from stages.extract.encoders.weights.hub import weight_files
from stages.head.checkpoint.hub import fetch
from stages.head.checkpoint.saved import load_head, local_checkpoint
from stages.head.errors import HeadError
from stages.probe.errors import ProbeError
from stages.probe.saved import load_probe
from store.errors import HearError


class Mute:
    """Accepts every connection and never answers."""

    def __init__(self) -> None:
        self.server = socket.create_server(("127.0.0.1", 0))
        self.taken: list[socket.socket] = []
        self.url = f"http://127.0.0.1:{self.server.getsockname()[1]}"
        threading.Thread(target=self.take, daemon=True).start()

    def take(self) -> None:
        with suppress(OSError):
            while True:
                self.taken.append(self.server.accept()[0])

    def close(self) -> None:
        self.server.close()
        for one in self.taken:
            one.close()


def closed() -> str:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"http://127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture
def black_hole() -> Iterator[str]:
    """A server with a full queue: the kernel accepts no further connections."""
    with closing(socket.socket()) as server:
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        waiting = [socket.socket() for _ in range(4)]
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(server.getsockname())
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
        for one in waiting:
            one.close()


@pytest.fixture
def point(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], None]:
    """A function that sets the hub's URL. Waiting between two attempts fails the test."""
    from huggingface_hub import close_session, constants

    def to(url: str) -> None:
        close_session()
        monkeypatch.setattr(constants, "ENDPOINT", url)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", url + "/{repo_id}/resolve/{revision}/{filename}")
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(hub_reach, "_silent", {})
        monkeypatch.setattr(hub_reach, "CONNECT", 0.3)
        monkeypatch.setattr(hub_reach, "ANSWER", 0.3)

    def waits(seconds: float) -> None:
        raise AssertionError(f"a second try after {seconds} s")

    monkeypatch.setattr("time.sleep", waits)
    return to


CALLS: dict[str, Callable[[str, Path], object]] = {
    "download": lambda url, folder: download("some/one", "config.json"),
    "a commit's file": lambda url, folder: download("some/one", "config.json", revision="0" * 40),
    "list": lambda url, folder: list_files("some/one"),
    "upload": lambda url, folder: upload("some/one", {"a": b""}, replaces=lambda name: False, message="", private=True),
    "data set": lambda url, folder: download_dataset("some/set", folder / "set", patterns=["*"]),
    "small": lambda url, folder: fetch_small(f"{url}/val_ids.txt", advice="get it otherwise"),
    "head": lambda url, folder: load_head("some/one"),
    "a file of a head": lambda url, folder: load_head("some/one/track_2.pth"),
    "encoder": lambda url, folder: weight_files("some/one", ("msd_stats.json", "pretrained_msd.pt")),
}


def one_line(call: Callable[[str, Path], object], url: str, folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(HearError, match=r"(hub|host) cannot be reached|timed out") as raised:
        call(url, folder)
    assert "\n" not in str(raised.value)
    printed = capfd.readouterr()
    assert printed.out + printed.err == ""


@pytest.mark.parametrize("name", CALLS)
def test_closed_port(
    point: Callable[[str], None], tmp_path: Path, capfd: pytest.CaptureFixture[str], name: str
) -> None:
    url = closed()
    point(url)
    one_line(CALLS[name], url, tmp_path, capfd)


@pytest.mark.parametrize("name", CALLS)
def test_server_that_never_answers(
    point: Callable[[str], None], tmp_path: Path, capfd: pytest.CaptureFixture[str], name: str
) -> None:
    with closing(Mute()) as mute:
        point(mute.url)
        one_line(CALLS[name], mute.url, tmp_path, capfd)
        assert len(mute.taken) <= 2  # to see whether it is there, and to ask
        if name != "small":
            one_line(CALLS[name], mute.url, tmp_path, capfd)
            assert len(mute.taken) <= 2  # for a while it is not asked again


@pytest.mark.parametrize("name", ["download", "small", "encoder"])
def test_host_that_accepts_no_connection(
    point: Callable[[str], None], black_hole: str, tmp_path: Path, capfd: pytest.CaptureFixture[str], name: str
) -> None:
    point(black_hole)
    one_line(CALLS[name], black_hole, tmp_path, capfd)


@pytest.mark.parametrize("name", ["download", "list", "small"])
@pytest.mark.parametrize("resolves", ["to nothing", "never"])
def test_unknown_host_name(
    point: Callable[[str], None],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    resolves: str,
    name: str,
) -> None:
    """Also with a name server that does not answer, for which a client waits ten seconds or more."""
    over = threading.Event()

    def look_up(*_: object, **__: object) -> list[Any]:
        if resolves == "never":
            over.wait(20)
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    point("http://hub.example")
    one_line(CALLS[name], "http://hub.example", tmp_path, capfd)
    over.set()


def test_cache_is_used_without_the_hub(
    on_hub: Any, point: Callable[[str], None], black_hole: str, capfd: pytest.CaptureFixture[str]
) -> None:
    commit = on_hub.add("some/one", {"config.json": b"{}"})
    cached = download("some/one", "config.json")
    with pytest.raises(HubFileMissingError, match=r"some/one: has no file novelty\.safetensors on the hub"):
        download("some/one", "novelty.safetensors", revision=commit)
    mute = Mute()
    for url in (closed(), black_hole, mute.url):
        point(url)
        for revision in (None, commit):
            assert download("some/one", "config.json", revision=revision) == cached
            assert weight_files(f"some/one@{commit}", ("config.json",)).paths == [cached]
        with pytest.raises(HubFileMissingError, match=r"has no file novelty\.safetensors on the hub"):
            download("some/one", "novelty.safetensors", revision=commit)
        with pytest.raises(HubError, match=r"cannot be reached and other\.json is not in the cache; go online"):
            download("some/one", "other.json")
    assert len(mute.taken) <= 2
    mute.close()
    assert capfd.readouterr() == ("", "")


def test_slow_hub_is_waited_for(on_hub: Any, point: Callable[[str], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """Its answer takes longer than the limit for the connection, which the kernel accepts."""
    answered = threading.Event()

    def slowly(handler: Any) -> None:
        answered.wait(0.35)
        GET(handler)

    handler = on_hub.server.RequestHandlerClass
    GET = handler.do_GET  # noqa: N806
    on_hub.add("some/one", {"config.json": b"{}"})
    point(on_hub.url)
    monkeypatch.setattr(hub_reach, "ANSWER", 10.0)
    for method in ("do_GET", "do_HEAD"):
        monkeypatch.setattr(handler, method, slowly)
    assert download("some/one", "config.json").read_bytes() == b"{}"


@pytest.mark.parametrize("name", ["list", "upload", "data set"])
def test_hub_that_stops_answering(
    on_hub: Any, point: Callable[[str], None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    """The hub answers the first request only; the library alone would wait for ever."""
    over = threading.Event()

    def silent(handler: Any) -> None:
        over.wait(20)
        handler.close_connection = True

    for method in ("do_GET", "do_POST"):
        monkeypatch.setattr(on_hub.server.RequestHandlerClass, method, silent)
    point(on_hub.url)
    monkeypatch.setattr(hub_reach, "ANSWER", 10.0)
    monkeypatch.setattr(hub_module, "SILENCE", 0.2)
    with pytest.raises(HubError, match="the hub cannot be reached"):
        CALLS[name](on_hub.url, tmp_path)
    assert not over.is_set()
    over.set()


def test_only_the_proxy_must_be_reachable(
    on_hub: Any, point: Callable[[str], None], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """The proxy looks up the hub's name."""
    from huggingface_hub import close_session

    def look_up(host: str, *rest: Any, **options: Any) -> list[Any]:
        assert host == "127.0.0.1"
        return real(host, *rest, **options)  # type: ignore[no-any-return]

    real = socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    monkeypatch.setenv("http_proxy", on_hub.url)
    on_hub.add("some/one", {"config.json": b"{}"})
    point("http://hub.example")
    try:
        assert download("some/one", "config.json").read_bytes() == b"{}"
        monkeypatch.setenv("http_proxy", closed())
        point("http://hub.example")
        assert download("some/one", "config.json").read_bytes() == b"{}"  # from the cache
        with pytest.raises(HubError, match=r"the hub cannot be reached and other\.json is not in the cache"):
            download("some/one", "other.json")
    finally:
        close_session()
    assert capfd.readouterr().err == ""


def test_large_files_are_not_downloaded(on_hub: Any) -> None:
    on_hub.add("some/large", {"track_2.pth": bytes(1000), "config.json": b"{" + b" " * (17 << 20) + b"}"})
    with pytest.raises(HubFileTooLargeError, match=r"track_2\.pth has 1000 bytes on the hub, expected at most 999"):
        download("some/large", "track_2.pth", largest=999)
    with pytest.raises(HubError, match=r"some/large: config\.json has 17825794 bytes on the hub"):
        fetch("some/large")
    assert not [request for request in on_hub.requests if request.startswith("GET")]
    assert download("some/large", "track_2.pth", largest=1000).stat().st_size == 1000
    on_hub.add("some/large", {"track_2.pth": bytes(1001)})
    with pytest.raises(HubFileTooLargeError, match="has 1001 bytes on the hub"):
        download("some/large", "track_2.pth", largest=1000)


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder `models` with heads; requests to a hub fail the test."""

    def asked(*_: object, **__: object) -> bool:
        raise AssertionError("looked up")

    monkeypatch.setattr(hub_reach, "_connects", asked)
    monkeypatch.chdir(tmp_path)
    for name in ("track1", "track2", "seeds/seed-0"):
        (tmp_path / "models" / name).mkdir(parents=True)
    return tmp_path / "models"


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("models/trak2", "models/track2"),
        ("models/track3", "models/track"),
        ("models/seed/seed-0", "models/seeds/seed-0"),
        ("models/seeds/sed-0", "models/seeds/seed-0"),
        ("./models/trak2", "models/track2"),
        ("{here}/models/trak2", "{here}/models/track2"),
    ],
)
def test_paths_are_not_looked_up_on_the_hub(models: Path, typed: str, meant: str) -> None:
    typed, meant = (text.format(here=models.parent) for text in (typed, meant))
    uses: dict[Callable[[], object], type[HearError]] = {
        lambda: local_checkpoint(typed): HeadError,
        lambda: weight_files(typed, ("config.json",)): EncoderError,
        lambda: load_probe(typed): ProbeError,
    }
    for call, kind in uses.items():
        with pytest.raises(
            kind, match=rf"{typed.removeprefix('./')}: (no|neither) .*; did you mean {meant}\w*\?$"
        ) as raised:
            call()
        assert "\n" not in str(raised.value)


def test_path_without_a_similar_name(models: Path) -> None:
    with pytest.raises(HeadError, match=r"models/zzz: no such file or folder$"):
        local_checkpoint("models/zzz")
    with pytest.raises(HeadError, match=r"gonex*: no such checkpoint"):
        local_checkpoint("gone" + "x" * 3_000)
