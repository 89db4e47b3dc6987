"""A command reads a parameters file only if `--params FILE` names it; otherwise it uses the values of the paper."""

import importlib
import re
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import typer.main
from typer.testing import CliRunner, Result

from pipeline.cli.entry import run
from pipeline.params import HeadParams, Params
from stages.extract.config import ExtractConfig
from stages.head.config import TrainConfig
from stages.songs import Manifest

ROOT = Path(__file__).resolve().parents[3]
EXTRACT = ("extract", "--manifest", "m.csv", "--store", "s.zarr", "--dry-run")
TRAIN = ("head", "train", "--manifest", "m.csv", "--store", "s.zarr", "--track", "2", "--out", "o")
ABLATE = ("head", "ablate", *TRAIN[2:])
EVALUATE = ("head", "evaluate", "--checkpoint", "c", "--manifest", "m.csv", "--store", "s.zarr", "--out", "o.json")
PREDICT = ("head", "predict", "song.mp3", "--checkpoint", "c")
SERVE = ("serve", "--checkpoint", "c")
DEMO = ("data", "demo", "--out", "songs")
PREPARE = ("data", "prepare", "--out", "m.csv")
COMMANDS = {call[:2] if call[0] in ("head", "data") else call[:1]: call for call in (
    EXTRACT, TRAIN, ABLATE, EVALUATE, PREDICT, SERVE, DEMO, PREPARE,
)}  # fmt: skip


class ReachedError(Exception):
    """Raised in place of a command's work."""


@pytest.fixture
def reached(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Any]:
    """A function that runs a command in an empty folder up to its work, and returns the arguments of the work."""
    seen: list[Any] = []

    def work(*told: Any, **named: Any) -> None:
        seen.append((told, named))
        raise ReachedError

    for name in (
        "pipeline.extraction.dry_run", "pipeline.runs.Job", "stages.evaluate.evaluation.evaluate_heads",
        "pipeline.prediction.predict", "pipeline.serving.run_service", "stages.songs.demo.layout.make_demo",
    ):  # fmt: skip
        monkeypatch.setattr(name, work)
    for module in ("stages.songs", "pipeline.runs"):
        monkeypatch.setattr(f"{module}.read_manifest", lambda *_, **__: Manifest(Path("m.csv"), ()))
    for name in ("head", "head_commands.ablate"):
        monkeypatch.setattr(f"pipeline.cli.{name}.refuse_changed_songs", lambda *_: None)
    monkeypatch.setattr("stages.head.checkpoint.ensemble.load_heads", lambda *_, **about: about)
    monkeypatch.chdir(tmp_path)

    def call(command: str, *arguments: str) -> tuple[tuple[Any, ...], dict[str, Any]]:
        result = invoke(command, *arguments)
        assert isinstance(result.exception, ReachedError), (result.output, result.exception)
        return seen[-1]

    return call


def invoke(command: str, *arguments: str) -> Result:
    return CliRunner().invoke(importlib.import_module(f"pipeline.cli.{command}").app, list(arguments))


def write(text: str, name: str = "mine.yaml") -> str:
    Path(name).write_text(text, encoding="utf-8")
    return name


def extract_config(found: tuple[tuple[Any, ...], dict[str, Any]]) -> ExtractConfig:
    return next(value for value in found[0] if isinstance(value, ExtractConfig))


def test_files_and_variables_that_are_not_given_have_no_effect(
    reached: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The checkout has a params.yaml of the demo, which must not affect training on other songs."""
    Path("params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
    monkeypatch.setenv("HEAR_PARAMS", "params.yaml")
    papers = {field: value for field, value in HeadParams().model_dump().items() if field in asdict(TrainConfig())}
    for command, own in ((TRAIN, {}), (ABLATE, {"views_per_epoch": 1})):
        config = asdict(reached(*command)[1]["config"])
        assert config == {**asdict(TrainConfig()), **own}
        assert {name: config[name] for name in papers} == {**papers, **own}
    config = extract_config(reached(*EXTRACT))
    assert (config.preset, config.muq, config.layers) == ("pretrained", "OpenMuQ/MuQ-large-msd-iter", (10,))
    assert reached(*EXTRACT)[1]["augment"] == 8
    assert reached(*DEMO)[1]["songs"] == Params().demo.songs


def test_the_given_file_sets_defaults_and_options_win(reached: Callable[..., Any]) -> None:
    file = write(
        """
        encoders: {preset: tiny, layers: [2, 3], streams: [muq/track], device: cpu, precision: fp32}
        extract: {augment: 3, dtype: int8, pool: 2, seed: 5}
        head: {size: small, learning_rate: 1.0e-3, streams: [muq/track, muq/segment], beta: null, shuffle_labels: true,
               patience: 4, seed: 6, device: cpu, allow_missing: 7}
        demo: {songs: 25, seconds: 6.0, seed: 8}
        """
    )
    told, about = reached(*EXTRACT, "--params", file)
    assert about["augment"] == 3
    assert told[2] == ExtractConfig(
        preset="tiny", muq="OpenMuQ/MuQ-large-msd-iter", musicfm="minzwon/MusicFM", layers=(2, 3),
        streams=("muq/track",), precision="fp32", device="cpu", seed=5, dtype="int8", pool=2,
    )  # fmt: skip
    said = {"size": "small", "learning_rate": 1e-3, "streams": ("muq/track", "muq/segment"), "patience": 4}
    said |= {"shuffle_labels": True, "seed": 6, "device": "cpu", "allow_missing": 7}
    for command, own in ((TRAIN, {}), (ABLATE, {"views_per_epoch": 1})):
        assert reached(*command, "--params", file)[1]["config"] == TrainConfig(**said, **own)
        # At any place of the option.
        explicit = reached(*command, "--seed", "1", "--params", file, "--size", "paper")[1]["config"]
        assert explicit == TrainConfig(**{**said, **own, "seed": 1, "size": "paper"})
    told, about = reached(*EVALUATE, "--params", file)
    assert (told[0]["device"], about["allow_missing"]) == ("cpu", 7)
    assert reached(*PREDICT, "--params", file)[0][0].encoders == {
        "muq": None, "musicfm": None, "device": "cpu", "precision": "fp32",
    }  # fmt: skip
    encoders = reached(*SERVE, "--params", file, "--device", "auto", "--muq", "a/b")[1]["encoders"]
    assert encoders == {"muq": "a/b", "musicfm": None, "device": "auto", "precision": "fp32"}
    for command in (DEMO, PREPARE):
        assert reached(*command, "--params", file)[1].items() >= {"songs": 25, "seconds": 6.0, "seed": 8}.items()


@pytest.mark.parametrize(
    ("said", "trained", "ablated"), [("0", 0, 0), ("2", 2, 2), ("null", 0, 1)], ids=["all", "two", "own default"]
)
def test_all_views_can_be_selected_by_file_and_by_option(
    reached: Callable[..., Any], said: str, trained: int, ablated: int
) -> None:
    file = write(f"head: {{views_per_epoch: {said}}}")
    for command, expected in ((TRAIN, trained), (ABLATE, ablated)):
        assert reached(*command, "--params", file)[1]["config"].views_per_epoch == expected
        assert reached(*command, "--params", file, "--views-per-epoch", "0")[1]["config"].views_per_epoch == 0


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ((), ("tiny", "OpenMuQ/MuQ-large-msd-iter")),
        (("--muq", "a/b"), ("pretrained", "a/b")),
        (("--preset", "pretrained"), ("pretrained", "OpenMuQ/MuQ-large-msd-iter")),
    ],
)
def test_weights_on_the_command_line_win_over_the_preset_of_a_file(
    reached: Callable[..., Any], given: tuple[str, ...], expected: tuple[str, str]
) -> None:
    config = extract_config(reached(*EXTRACT, "--params", write("encoders: {preset: tiny}"), *given))
    assert (config.preset, config.muq) == expected


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("head: {betta: 1}", "unknown key head.betta; remove it or correct its spelling"),
        ("demo: {songs: many}", "demo.songs: "),
        ("encoders: {preset: huge}", "encoders.preset: "),
        ("a: [", "cannot be read as YAML"),
        (None, "cannot be read as YAML"),
    ],
)
def test_a_wrong_file_gives_one_line(
    command: tuple[str, ...], text: str | None, message: str, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    if text is not None:
        write(text)
    name, *arguments = COMMANDS[command]
    monkeypatch.setattr("sys.argv", [f"hear-{name}", *arguments, "--params", "mine.yaml"])
    with pytest.raises(SystemExit, match="1"):
        run(name)
    error = capsys.readouterr().err
    assert error.startswith(f"hear-{name}: mine.yaml: {message}")
    assert error.count("\n") == 1


def test_help_shows_the_papers_values_or_those_of_a_given_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    write("head: {learning_rate: 0.125}", "params.yaml")

    def shown(*arguments: str) -> str:
        lines = invoke("head", "train", *arguments, "--help").output.splitlines()
        return next(
            found[1] for line in lines if "--learning-rate" in line and (found := re.search(r"default: ([^\]]+)", line))
        )

    assert shown() == "1e-05"
    assert shown("--params", "params.yaml") == "0.125"


def test_the_pipeline_names_its_file_in_every_command() -> None:
    text = (ROOT / "dvc.yaml").read_text(encoding="utf-8")
    commands = re.findall(r"\bhear-[a-z]+(?: (?:prepare|train|evaluate))? .*", text)
    assert len(commands) == 4
    assert all(" --params params.yaml " in command for command in commands)


def test_every_command_with_defaults_from_a_section_has_the_option_params() -> None:
    fields = {name for section in Params.model_fields if section != "dataset"
              for name in type(getattr(Params(), section)).model_fields}  # fmt: skip
    for name in ("data", "extract", "head", "serve"):
        found = typer.main.get_command(importlib.import_module(f"pipeline.cli.{name}").app)
        commands = getattr(found, "commands", {"": found})
        for called, command in commands.items():
            options = {option for parameter in command.params for option in parameter.opts}
            taken = fields & {parameter.name for parameter in command.params} - {"seed", "songs"}
            assert ("--params" in options) or not taken, (name, called, taken)
