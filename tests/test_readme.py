"""README.md and the pages on training: every command that needs no hub runs as it stands, and so does the Python."""

import io
import json
import re
import shlex
import shutil
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import soundfile
from huggingface_hub import constants

from hear_music import commands
from stages.songs import DIMENSIONS
from store import EmbeddingStore

ROOT = Path(__file__).resolve().parents[1]
README = "../README.md"
# What a user's params.yaml may say: everything small.
PARAMS = """
encoders: {layers: [2]}
head: {size: small, learning_rate: 1.0e-3, epochs: 1}
"""


class Done(NamedTuple):
    """The result of a command."""

    code: int
    stdout: str
    stderr: str


def run(folder: Path, line: str) -> Done:
    """Run a command of a page, offline. All run in this process, so that torch is imported once."""
    words = shlex.split(line, comments=True)
    with (
        pytest.MonkeyPatch.context() as patch,
        redirect_stdout(io.StringIO()) as out,
        redirect_stderr(io.StringIO()) as err,
    ):
        patch.chdir(folder)
        patch.setattr(sys, "argv", words)
        patch.setattr(constants, "HF_HUB_OFFLINE", True)
        patch.setattr(constants, "HF_HUB_CACHE", str(folder / "hub"))
        code: object = 0
        try:
            getattr(commands, words[0].removeprefix("hear-"))()
        except SystemExit as end:
            code = end.code or 0
    assert isinstance(code, int), code
    return Done(code, out.getvalue(), err.getvalue())


def run_python(folder: Path, code: str) -> str:
    """Run the Python of a page and return what it prints."""
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(io.StringIO()) as out:
        patch.chdir(folder)
        exec(compile(code, "page", "exec"), {"__name__": "__main__"})
    return out.getvalue()


def lines(blocks: list[str]) -> list[str]:
    return [line for block in blocks for line in block.splitlines() if line.startswith(("hear-", "hear "))]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's folder: songs, their ratings, and one separate song."""
    folder = tmp_path_factory.mktemp("a user's") / "Musik ü"
    (folder / "my_songs").mkdir(parents=True)
    generator = np.random.default_rng(0)
    rows = ["song_id," + ",".join(DIMENSIONS)]
    for number in range(12):
        noise = generator.standard_normal(24_000) * 0.1
        soundfile.write(folder / "my_songs" / f"song {number}.flac", noise, 24_000)
        rows.append(f"song {number}," + ",".join(f"{rating:.2f}" for rating in generator.uniform(1, 5, 5)))
    (folder / "my_ratings.csv").write_text("\n".join(rows) + "\n")
    (folder / "params.yaml").write_text(PARAMS)
    (folder / "folder").mkdir()
    soundfile.write(folder / "folder" / "other.wav", generator.standard_normal(24_000) * 0.1, 24_000)
    soundfile.write(folder / "song.mp3", generator.standard_normal(24_000) * 0.1, 24_000)
    for take in ("a cat/1", "a cat/2", "a dog/1", "a dog/2"):
        (folder / "takes" / take).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(folder / "takes" / f"{take}.wav", generator.standard_normal(24_000) * 0.1, 24_000)
    for system in "AB":
        rows = (
            {"song_id": f"song {n}", "path": "", "scores": dict.fromkeys(DIMENSIONS, generator.uniform(1, 5))}
            for n in range(8)
        )
        (folder / f"system{system}.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return folder


@pytest.fixture(scope="module")
def worked(place: Path, code_in: Callable[[str, str], list[str]]) -> Path:
    """The same place after the commands for one's own songs; the encoders are the tiny ones."""
    own = [line for line in lines(code_in(README, "sh")) if "my_songs" in line and line.startswith("hear-")]
    assert len(own) == 3
    for line in own:
        small = "" if line.startswith("hear-data") else " --params params.yaml"
        done = run(place, line.replace("--preset pretrained", "--preset tiny") + small)
        assert done.code == 0, f"{line}\n{done.stderr}"
    shutil.copytree(place / "my.zarr", place / "embeddings.zarr")
    shutil.copy(place / "my_songs" / "manifest.csv", place / "manifest.csv")
    shutil.copytree(place / "models" / "mine", place / "models" / "track2")
    return place


def test_songs_are_scored_compared_and_stressed(worked: Path, code_in: Callable[[str, str], list[str]]) -> None:
    found = {
        line.split()[1]: run(worked, line)
        for line in lines(code_in(README, "sh"))
        # The authors' head is not here; `serve` has its own tests.
        if line.startswith("hear ") and not line.startswith(("hear predict song.mp3  ", "hear serve"))
    }
    assert found.keys() == {"doctor", "predict", "best-of", "compare", "stress", "store"}
    doctor = found.pop("doctor")
    assert doctor.code in (0, 1)  # the machine decides
    assert re.search(r"^\d+ ok, \d+ warnings?, \d+ problems?$", doctor.stdout, re.MULTILINE)
    assert not {name: done for name, done in found.items() if done.code}
    assert (worked / "scores.json").read_text().count("Naturalness") == 2
    assert found["best-of"].stdout.count('"margin"') == 2
    assert "Musicality" in found["compare"].stdout
    for page in ("report", "comparison", "stress"):
        assert (worked / page / "index.html").exists()


def test_the_python_runs(worked: Path, code_in: Callable[[str, str], list[str]]) -> None:
    printed = [run_python(worked, block) for block in code_in(README, "python")]
    assert printed[0].count("clip-") == 3
    assert len(printed[-1].splitlines()) == len(EmbeddingStore.open(worked / "my.zarr"))  # with zarr alone


def test_the_pages_on_training_run(worked: Path, code_in: Callable[[str, str], list[str]]) -> None:
    own = [line for line in lines(code_in("how-to/train.md", "sh")) if " evaluate " in line]
    own += lines(code_in("concepts/training.md", "bash"))
    assert [line.split()[1] for line in own] == ["evaluate", "ablate"]
    for line in own:
        more = " --parallel 1" if " ablate " in line else ""  # further processes would import torch again
        done = run(worked, f"{line} --params params.yaml{more}")
        assert done.code == 0, f"{line}\n{done.stderr}"
    assert (worked / "results" / "ablation" / "ablation.md").read_text().count("|\n") >= 10
    (block,) = code_in("how-to/train.md", "python")
    assert "Coherence" in run_python(worked, block)


def test_commands_that_need_the_hub_fail_in_one_line_but_not_for_their_options(
    place: Path, code_in: Callable[[str, str], list[str]]
) -> None:
    own = [line for line in lines(code_in(README, "sh")) if "songeval" in line]
    assert len(own) == 4
    for line in own:
        done = run(place, line)
        assert done.code == 1, f"{line}\n{done.stderr}"
        assert done.stderr.startswith(line.split()[0])
        assert "Traceback" not in done.stderr


def test_linked_pages_exist() -> None:
    for page in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name} links {target}"
