"""All pages: commands and options that they name exist, Python compiles, and the notebook runs."""

import importlib
import json
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pytest
import typer.main

from stages.songs import DIMENSIONS, Song, write_manifest
from store import Spec, StoreWriter

ROOT = Path(__file__).resolve().parents[1]
PAGES = [*(ROOT / "docs").rglob("*.md"), *ROOT.glob("*.md")]
# The pages of measurements name the options of benchmarks, too.
USAGE = [ROOT / "README.md", *(page for page in (ROOT / "docs").rglob("*.md") if page.parent.name != "benchmarks")]
NOTEBOOK = ROOT / "docs" / "examples" / "probe-and-head.ipynb"
STREAMS = ("musicfm/segment", "muq/segment", "musicfm/track", "muq/track")
APPS = {
    name: typer.main.get_command(importlib.import_module(f"pipeline.cli.{name}").app)
    for name in ("data", "extract", "head", "hear", "probe", "serve", "store")
}


def blocks(page: Path, *languages: str) -> list[str]:
    found = re.findall(r"^ *```(\w+)\n(.*?)^ *```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    return [code for language, code in found if language in languages]


def commands(page: Path) -> list[list[str]]:
    """The words of each `hear` or `hear-*` command, after a pipe as well; a redirection is not one of them."""
    text = "\n".join(blocks(page, "sh", "bash")).replace("\\\n", " ")
    lines = [part for line in text.splitlines() for part in re.split(r" [|>] ", line)]
    ours = [re.sub(r"^\s*([A-Z_]+=\S+ |exec )*", "", line) for line in lines]
    return [shlex.split(line.removesuffix(" &"), comments=True) for line in ours if re.match("hear[- ]", line)]


def parse(command: Any, words: list[str], parent: typer.Context | None = None) -> None:
    """Raise a usage error where the command itself would, without running anything."""
    context = typer.Context(command, info_name=words[0], parent=parent)
    subcommands = getattr(command, "commands", {})
    if subcommands:
        name = words[1] if words[1] in subcommands or words[1][0] != "-" else "fit"  # hear-probe's default
        return parse(subcommands[name], [name, *words[1 + (name == words[1]) :]], context)
    values, rest, _ = command.make_parser(context).parse_args(words[1:])
    assert not rest, f"{words}: {rest} is too much"
    for parameter in command.params:
        if parameter.name in values and parameter.callback is None:
            parameter.process_value(context, values[parameter.name])
        assert parameter.name in values or not parameter.required, f"{words}: {parameter.name} is missing"
    return None


@pytest.mark.parametrize("page", [page for page in PAGES if commands(page)], ids=lambda page: page.name)
def test_commands_exist(page: Path) -> None:
    for words in commands(page):
        parse(APPS[words[0].removeprefix("hear-")], words)


def test_wrong_options_on_pages_are_found() -> None:
    with pytest.raises(Exception, match="No such option: --stor"):
        parse(APPS["head"], shlex.split("hear-head predict --stor x --checkpoint y"))


@pytest.mark.parametrize("page", USAGE, ids=lambda page: page.name)
def test_options_in_the_text_exist(page: Path) -> None:
    known = {option for command in APPS.values() for option in _options(command)}
    named = set(re.findall(r"`(--[a-z][a-z-]+)", page.read_text(encoding="utf-8")))
    assert named - known - {"--help", "--shm-size"} == set()


def _options(command: Any) -> list[str]:
    here = [option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)]
    return here + [option for part in getattr(command, "commands", {}).values() for option in _options(part)]


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "sh", "bash")], ids=lambda page: page.name)
def test_shell_blocks_parse(page: Path) -> None:
    for code in blocks(page, "sh", "bash"):
        parsed = subprocess.run(["bash", "-n"], input=code, text=True, capture_output=True)
        assert not parsed.stderr, code


def test_python_compiles() -> None:
    for page in PAGES:
        for code in blocks(page, "python"):
            compile(re.sub(r"^    ", "", code) if code.startswith("    ") else code, page.name, "exec")


def test_the_notebook_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Against a small store, with every cell as it is committed."""
    generator = np.random.default_rng(0)
    (tmp_path / "data").mkdir()
    spec = Spec(streams=STREAMS, channels=4, encoders={}, layers=(10,), dtype="float16")
    writer = StoreWriter.open(tmp_path / "data" / "demo.zarr", spec)
    songs = []
    for number in range(15):
        ratings = dict(zip(DIMENSIONS, generator.uniform(1, 5, 5).round(2).tolist(), strict=True))
        frames = generator.standard_normal((4, 12, 4)) + ratings["Clarity"]
        writer.write(f"song {number}", 0, frames.astype(np.float32), attributes={"seconds": 0.48})
        split = "val" if number % 3 == 0 else "train"
        songs.append(Song(f"song {number}", tmp_path / f"{number}.wav", split, "", ratings, {}))
    write_manifest(tmp_path / "data" / "manifest.csv", songs)
    cells = [cell for cell in json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == "code"]
    assert all(cell["outputs"] for cell in cells if "import" not in "".join(cell["source"]))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(plt, "show", lambda: plt.close("all"))
    names: dict[str, Any] = {}
    for cell in cells:
        exec("".join(cell["source"]), names)
    assert (tmp_path / "models" / "notebook" / "model.safetensors").exists()


def test_files_in_the_text_exist() -> None:
    """Code that a page names is where the page says."""
    for page in PAGES:
        named = re.findall(r"`((?:hear_music|pipeline|stages|store|tests)/[\w/.]+)`", page.read_text(encoding="utf-8"))
        assert [name for name in named if not (ROOT / name).exists()] == [], page
