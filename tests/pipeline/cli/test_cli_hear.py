"""`hear`: the commands of all others under one name; and the published head where no checkpoint is named."""

import subprocess
import sys
from typing import Any

import pytest
import typer.main
from typer.testing import CliRunner

from pipeline.cli import doctor, extract, head, hear, probe, serve, store
from pipeline.cli.options import checkpoints_or_published
from stages.common.hub import HubError

COMMANDS: Any = typer.main.get_command(hear.app)
HEADS: Any = typer.main.get_command(head.app)
PUBLISHED = "earlab/EAR_HEAR"


def test_every_command_is_there_and_in_a_panel() -> None:
    names = list(COMMANDS.commands)
    assert {*HEADS.commands, "data", "extract", "store", "probe", "serve", "doctor"} == set(names)
    assert [name for name in names if COMMANDS.commands[name].rich_help_panel is None] == []
    for module in (doctor, extract, probe, serve, store):
        name = module.__name__.rpartition(".")[2]
        assert COMMANDS.commands[name].callback.__wrapped__ is typer.main.get_command(module.app).callback.__wrapped__


def texts(command: Any) -> list[str]:
    here = [command.help, command.epilog, *(getattr(param, "help", "") for param in command.params)]
    return [*filter(None, here), *(text for part in getattr(command, "commands", {}).values() for text in texts(part))]


def test_texts_show_the_name_that_was_typed() -> None:
    shown = texts(COMMANDS)
    assert "Example:\nhear train --manifest manifest.csv" in "\n".join(shown)
    assert "Receipt of hear extract" in "\n".join(shown)
    assert [text for text in shown if "hear-" in text.replace("hear-music", "")] == []
    # The commands themselves keep their names.
    assert "hear-head train" in HEADS.commands["train"].epilog


def test_only_the_module_of_the_command_is_imported() -> None:
    script = (
        "import sys; from pipeline.cli.entry import run; sys.argv = ['hear', 'predict', '--help']\n"
        "try: run('hear')\n"
        "except SystemExit: print(*sys.modules)"
    )
    shown = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert "Usage: hear predict" in shown
    loaded = set(shown.splitlines()[-1].split())
    others = {f"pipeline.cli.{name}" for name in ("data", "extract", "store", "probe", "serve", "doctor")}
    assert loaded & {*others, "torch", "pipeline.cli.head"} == {"pipeline.cli.head"}


@pytest.mark.parametrize(
    ("card", "licence"),
    [
        (b"---\nlicense: cc-by-nc-4.0\n---\n# Heads", "licence cc-by-nc-4.0"),
        (b"---\nlicense: [odd]\n---\n", "no licence stated; trained on SongEval, CC-BY-NC-SA 4.0"),
        (b"---\nlicense: {{\n---\n", "no licence stated; trained on SongEval, CC-BY-NC-SA 4.0"),
        (None, "no licence stated; trained on SongEval, CC-BY-NC-SA 4.0"),
    ],
)
def test_without_a_checkpoint_the_published_head_is_named_with_its_licence(
    on_hub: Any, capsys: pytest.CaptureFixture[str], card: bytes | None, licence: str
) -> None:
    files = {"track_1.pth": b"1", "track_2.pth": b"2"}
    on_hub.add(PUBLISHED, files if card is None else {**files, "README.md": card})
    assert checkpoints_or_published(None, None) == [f"{PUBLISHED}/track_2.pth"]
    note = capsys.readouterr().err
    assert note.startswith(f"scoring with the published head {PUBLISHED}/track_2.pth ({licence}")
    assert note.count("\n") == 1
    on_hub.stop()
    assert checkpoints_or_published([], 2) == [f"{PUBLISHED}/track_2.pth"]
    assert capsys.readouterr().err == note
    with pytest.raises(HubError, match=r"track_1\.pth is not in the cache; .* `hear predict song\.wav`"):
        checkpoints_or_published(None, 1)


def test_a_checkpoint_needs_no_hub_and_excludes_a_track(capsys: pytest.CaptureFixture[str]) -> None:
    assert checkpoints_or_published(["a", "b"], None) == ["a", "b"]
    assert capsys.readouterr().err == ""
    refused = CliRunner().invoke(hear.app, ["predict", "a.wav", "--checkpoint", "a", "--track", "2"], prog_name="hear")
    assert refused.exit_code == 2
    assert "--track chooses a published head" in refused.output


def test_predict_scores_with_the_published_head_after_its_usage_is_checked(
    on_hub: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = CliRunner().invoke(hear.app, ["predict", "--split", "val"], prog_name="hear")
    assert (wrong.exit_code, on_hub.requests) == (2, [])
    on_hub.add(PUBLISHED, {"track_1.pth": b"1"})
    asked: list[Any] = []

    def predict(request: Any, outputs: Any, *, on_row: Any) -> Any:
        asked.append(request.checkpoints)
        raise HubError("seen")

    monkeypatch.setattr("pipeline.prediction.predict", predict)
    CliRunner().invoke(hear.app, ["predict", "song.wav", "--track", "1"], prog_name="hear")
    assert asked == [[f"{PUBLISHED}/track_1.pth"]]
