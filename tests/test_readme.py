"""README.md and the pages on training: every command that needs no hub runs as it stands, and so does the Python."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from stages.songs import DIMENSIONS
from store import EmbeddingStore

ROOT = Path(__file__).resolve().parents[1]
README = "../README.md"
# What a user's params.yaml may say: everything small.
PARAMS = """
encoders: {layers: [2]}
head: {size: small, learning_rate: 1.0e-3, epochs: 1}
"""


def run(folder: Path, command: str) -> subprocess.CompletedProcess[str]:
    """Run a line of a page, offline, as a user does."""
    place = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": place, "HF_HUB_OFFLINE": "1", "HF_HOME": str(folder / "hub")}
    return subprocess.run(
        ["bash", "-c", command], cwd=folder, env=environment, capture_output=True, text=True, timeout=600, check=False
    )


def lines(blocks: list[str]) -> list[str]:
    return [line for block in blocks for line in block.splitlines() if line.startswith("hear-")]


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
    return folder


@pytest.fixture(scope="module")
def worked(place: Path, code_in: Callable[[str, str], list[str]]) -> Path:
    """The same place after the commands for one's own songs; the encoders are the tiny ones."""
    own = [line for line in lines(code_in(README, "sh")) if "my_songs" in line]
    assert len(own) == 3
    for line in own:
        small = "" if line.startswith("hear-data") else " --params params.yaml"
        done = run(place, line.replace("--preset pretrained", "--preset tiny") + small)
        assert done.returncode == 0, f"{line}\n{done.stderr}"
    shutil.copytree(place / "my.zarr", place / "embeddings.zarr")
    shutil.copy(place / "my_songs" / "manifest.csv", place / "manifest.csv")
    shutil.copytree(place / "models" / "mine", place / "models" / "track2")
    return place


def test_songs_are_scored(worked: Path, code_in: Callable[[str, str], list[str]]) -> None:
    (line,) = [line for line in lines(code_in(README, "sh")) if " predict " in line]
    done = run(worked, line)
    assert done.returncode == 0, done.stderr
    assert (worked / "scores.json").read_text().count("Naturalness") == 2


def test_the_python_runs(worked: Path, code_in: Callable[[str, str], list[str]]) -> None:
    for block in code_in(README, "python"):
        done = run(worked, f"python - <<'END'\n{block}END")
        assert done.returncode == 0, f"{block}\n{done.stderr}"
    assert len(done.stdout.splitlines()) == len(EmbeddingStore.open(worked / "my.zarr"))  # with zarr alone, read last


def test_the_pages_on_training_run(worked: Path, code_in: Callable[[str, str], list[str]]) -> None:
    commands = [line for line in lines(code_in("how-to/train.md", "sh")) if " evaluate " in line]
    commands += lines(code_in("concepts/training.md", "bash"))
    assert [line.split()[1] for line in commands] == ["evaluate", "ablate"]
    for line in commands:
        done = run(worked, f"{line} --params params.yaml")
        assert done.returncode == 0, f"{line}\n{done.stderr}"
    assert (worked / "results" / "ablation" / "ablation.md").read_text().count("|\n") >= 10
    (block,) = code_in("how-to/train.md", "python")
    done = run(worked, f"python - <<'END'\n{block}END")
    assert done.returncode == 0, done.stderr
    assert "Coherence" in done.stdout


def test_commands_that_need_the_hub_fail_in_one_line_but_not_for_their_options(
    place: Path, code_in: Callable[[str, str], list[str]]
) -> None:
    commands = [line for line in lines(code_in(README, "sh")) if "songeval" in line]
    assert len(commands) == 4
    for line in commands:
        done = run(place, line)
        assert done.returncode == 1, f"{line}\n{done.stderr}"
        assert done.stderr.startswith(line.split()[0])
        assert "Traceback" not in done.stderr


def test_linked_pages_exist() -> None:
    for page in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name} links {target}"
