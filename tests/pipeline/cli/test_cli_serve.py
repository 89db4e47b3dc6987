"""`hear-serve`: the server's arguments, and the message without its extra."""

import importlib.util
import socket
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

from pipeline.cli import serve
from pipeline.cli.entry import run
from pipeline.serving import run_service
from stages.scoring.over_time import Windows
from stages.scoring.service.server import Server


def test_options_become_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, Any] = {}
    monkeypatch.setattr("pipeline.serving.run_service", lambda heads, **about: seen.update(about, heads=heads))
    options = ["--checkpoint", "a", "--checkpoint", "b", "--port", "9000", "--max-megabytes", "5", "--window", "4"]
    result = CliRunner().invoke(serve.app, [*options, "--max-minutes", "2", "--time-limit", "30", "--max-waiting", "1"])
    assert result.exit_code == 0, result.output
    assert seen["heads"] == ["a", "b"]
    assert (seen["host"], seen["port"]) == ("127.0.0.1", 9000)
    assert seen["windows"] == Windows(4.0, 2.0)
    assert seen["limits"] == {"megabytes": 5.0, "minutes": 2.0, "seconds": 30.0, "waiting": 1}


def test_the_server_gets_the_application(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, Any] = {}

    class Scorer:
        dimensions = ("Musicality",)
        caution = ""
        scoring = SimpleNamespace(model="sha256:0")
        ensemble = SimpleNamespace(heads=[])

        @classmethod
        def load(cls, *heads: str, **about: Any) -> "Scorer":
            seen.update(about, heads=heads)
            return cls()

        def limited(self, **limits: float) -> "Scorer":
            seen["limited"] = limits
            return self

        def score(self, path: Path) -> None: ...

    monkeypatch.setattr("stages.scoring.scorer.Scorer", Scorer)

    def serve_nothing(server: Server, sockets: list[socket.socket]) -> None:
        seen.update(app=server.config.app, places=[each.getsockname() for each in sockets])

    monkeypatch.setattr(Server, "run", serve_nothing)
    limits = {"megabytes": 5.0, "minutes": 2.0, "seconds": 30.0, "waiting": 1}
    windows = Windows(4.0, 2.0)
    run_service(["a"], encoders={"muq": "folder"}, windows=windows, host="127.0.0.1", port=0, limits=limits)
    assert (seen["heads"], seen["muq"], seen["windows"]) == (("a",), "folder", windows)
    ((address, port),) = seen["places"]
    assert address == "127.0.0.1"
    assert port > 0
    assert seen["limited"] == {"longest": 120.0}
    assert seen["app"].state.queue.limits.seconds == 30.0
    assert {route.path for route in seen["app"].routes} >= {"/", "/score", "/health"}


def test_without_the_extra_the_message_names_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "fastapi" else find(name))
    monkeypatch.setattr("sys.argv", ["hear-serve", "--checkpoint", "gone"])
    with pytest.raises(SystemExit, match="1"):
        run("serve")
    error = capsys.readouterr().err
    assert (
        error == "hear-serve: fastapi not installed: the service needs an extra; run: pip install 'hear-music[serve]'\n"
    )


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--max-megabytes", "limits: expected a finite number of megabytes, found inf"),
        ("--time-limit", "limits: expected a finite number of seconds, found inf"),
        ("--hop", "windows: expected finite seconds above 0, found 10 with a hop of inf"),
    ],
)
def test_limits_that_are_not_finite_are_refused_before_models_load(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], option: str, message: str
) -> None:
    monkeypatch.setattr("sys.argv", ["hear-serve", "--checkpoint", "gone", option, "inf"])
    with pytest.raises(SystemExit, match="1"):
        run("serve")
    assert capsys.readouterr().err == f"hear-serve: {message}\n"


def test_version() -> None:
    result = CliRunner().invoke(serve.app, ["--version"])
    assert result.stdout.startswith("hear-serve ")
