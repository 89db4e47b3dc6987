"""`hear-head push` and `pull`, and `--checkpoint` with a hub id, as users run them: variables, output, exit codes."""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.cli import entry
from stages.head.checkpoint.head import Head, HeadConfig
from stages.head.checkpoint.saved import load_head, save_head
from stages.head.model.hear import HearHead
from stages.head.model.sizes import preset_sizes
from stages.songs import Song, write_manifest
from store import EmbeddingStore, Spec, StoreWriter

# The client's own size, for large uploads without xet.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")

STREAMS = ("musicfm/track", "muq/track")
MANIFEST = ("--manifest", "songs.csv")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A head in `model`, and `songs.zarr` with its streams."""
    spec = Spec(streams=STREAMS, channels=8, encoders={"musicfm": "sha256:a", "muq": "sha256:b"}, layers=(10,))
    torch.manual_seed(0)
    sizes = preset_sizes("small", features=16, classes=1)
    config = HeadConfig(sizes=sizes, dimensions=("Musicality",), streams=STREAMS, spec=spec.to_json())
    save_head(tmp_path / "model", Head(HearHead(sizes), config))
    frames = np.random.default_rng(0).standard_normal((2, 30, 8)).astype(np.float32)
    StoreWriter.open(tmp_path / "songs.zarr", spec).write("song", 0, frames, attributes={})
    return tmp_path


# Commands that follow each other share a process, because the start takes seconds of CPU time.
CODE = """
import json, sys
from pipeline.cli.entry import run
for words in json.loads(sys.argv[1]):
    sys.argv = ["hear-head", *words]
    try:
        run("head")
    except SystemExit as end:
        if end.code:
            raise
"""


def hear_head(place: Path, *commands: list[str], **variables: str) -> subprocess.CompletedProcess[str]:
    others = ("HF_", "HUGGINGFACE_", "TRANSFORMERS_")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(others)}
    return subprocess.run(
        [sys.executable, "-c", CODE, json.dumps(commands)],
        cwd=place,
        env={**environment, "PYTHONPATH": str(Path(__file__).parents[3]), "HF_HOME": str(place / "home"), **variables},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )


def test_a_pushed_head_scores_by_its_id_and_is_pulled_offline(hub, place):
    push = ["push", "model", "someone/mine", "--private"]
    predict = ["predict", "--store", "songs.zarr", "--checkpoint", "someone/mine"]
    online = {"HF_ENDPOINT": hub.url, "HF_HUB_DISABLE_XET": "1", "HF_TOKEN": hub.TOKEN}
    done = hear_head(place, push, predict, **online)
    assert done.returncode == 0, done.stderr
    pushed, scored = done.stdout.splitlines()
    assert pushed == f"{hub.url}/someone/mine/commit/{hub.commit('someone/mine')}"
    assert hub.private == {"someone/mine"}
    frames = EmbeddingStore.open(place / "songs.zarr").read("song", 0)
    expected = load_head(place / "model").score(frames)["Musicality"]
    assert json.loads(scored)["scores"] == {"Musicality": pytest.approx(expected, abs=1e-4)}

    hub.stop()
    pulled = hear_head(place, ["pull", "someone/mine", "--out", "pulled"], HF_HUB_OFFLINE="1")
    assert (pulled.returncode, pulled.stdout, pulled.stderr) == (0, "pulled\n", "")
    for name in ("config.json", "model.safetensors"):
        assert (place / "pulled" / name).read_bytes() == (place / "model" / name).read_bytes()


def test_the_commands_of_the_docs_page_run(on_hub, place, monkeypatch, code_in):
    monkeypatch.chdir(place)
    (place / "models").mkdir()
    (place / "model").rename(place / "models/mine")
    block = next(block for block in code_in("how-to/share.md", "sh") if "push" in block)
    pushing, _, pulling = (shlex.split(line, comments=True) for line in block.splitlines())
    for words in (pushing, pulling):
        monkeypatch.setattr("sys.argv", words)
        with pytest.raises(SystemExit, match="0"):
            entry.run("head")
    assert b"- ASLP-lab/SongEval" in on_hub.files("me/my-head")["README.md"]
    assert load_head(place / "models/theirs").config == load_head(place / "models/mine").config


def test_errors_give_one_line(on_hub, place, monkeypatch, capsys):
    for arguments, line in {
        ("pull", "someone/other", "--out", "other"): "someone/other: the hub has no such model",
        ("push", "gone", "someone/mine"): "gone: no such folder; push the folder that hear-head train wrote",
        ("push", "model", "mine"): "mine: expected a hub id, owner/name",
    }.items():
        monkeypatch.chdir(place)
        monkeypatch.setattr("sys.argv", ["hear-head", *map(str, arguments)])
        with pytest.raises(SystemExit, match="1"):
            entry.run("head")
        printed = capsys.readouterr()
        assert printed.out == ""
        assert printed.err.startswith(f"hear-head: {line}")
        assert printed.err.count("\n") == 1


def fails(
    command: str, arguments: list[str], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> str:
    """The one line that a failing command prints."""
    monkeypatch.setattr("sys.argv", [f"hear-{command}", *arguments])
    with pytest.raises(SystemExit, match="1"):
        entry.run(command)
    printed = capfd.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1
    return printed.err


@pytest.mark.parametrize(
    ("command", "arguments"),
    [
        ("head", ["predict", "--store", "songs.zarr", "--checkpoint", "models/mie"]),
        (
            "head",
            [
                "evaluate",
                "--manifest",
                "songs.csv",
                "--store",
                "songs.zarr",
                "--out",
                "o",
                "--checkpoint",
                "models/mie",
            ],
        ),
        ("head", ["push", "models/mie", "me/mine"]),
        ("serve", ["--checkpoint", "models/mie"]),
        ("probe", ["apply", "models/mie", "--store", "songs.zarr"]),
        ("extract", [*MANIFEST, "--store", "new.zarr", "--muq", "models/mie", "--dry-run"]),
    ],
)
def test_a_mistyped_path_is_not_looked_up(place, monkeypatch, capfd, command, arguments):
    """No connection is tried, and the correct path is suggested."""
    monkeypatch.chdir(place)
    monkeypatch.setattr("stages.common.hub_reach._connects", lambda host, port: pytest.fail("looked up"))
    (place / "models").mkdir()
    (place / "model").rename(place / "models/mine")
    write_manifest(place / "songs.csv", [Song("song", place / "song.wav", "train", "", {"Musicality": 3.0}, {})])
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(place / "cache"))
    told = fails(command, arguments, monkeypatch, capfd)
    assert "models/mie: no " in told
    assert told.endswith("; did you mean models/mine?\n")


@pytest.mark.parametrize(
    ("command", "arguments"),
    [
        ("head", ["predict", "--store", "songs.zarr", "--checkpoint", "some/head"]),
        ("head", ["pull", "some/head", "--out", "pulled"]),
        ("head", ["push", "model", "some/head", "--license", "mit"]),
        ("extract", [*MANIFEST, "--store", "new.zarr", "--preset", "pretrained", "--dry-run"]),
        ("data", ["songeval", "--root", "songeval", "--download"]),
    ],
)
def test_without_a_network_there_gives_one_line(on_hub, place, monkeypatch, capfd, command, arguments):
    """No second try, and none of the library's own lines."""
    monkeypatch.chdir(place)
    on_hub.stop()
    monkeypatch.setattr("time.sleep", lambda seconds: pytest.fail("a second try"))
    monkeypatch.setenv("HEAR_VAL_IDS_URL", f"{on_hub.url}/val_ids.txt")
    write_manifest(place / "songs.csv", [Song("song", place / "song.wav", "val", "", {"Musicality": 3.0}, {})])
    assert "cannot be reached" in fails(command, arguments, monkeypatch, capfd)
