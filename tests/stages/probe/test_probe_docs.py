"""docs/how-to/probe.md: its code runs as it stands, and gets from a store to an answer in ten lines."""

import csv
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from stages.probe.saved import load_probe
from stages.songs import Song, write_manifest

KIND = np.arange(30) % 3


@pytest.fixture
def beside_a_store(make_store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The working directory has data/embeddings.zarr and data/manifest.csv: thirty songs by three systems."""
    monkeypatch.chdir(tmp_path)
    make_store(np.eye(3)[KIND] * 3, name="data/embeddings.zarr")
    names = [f"song {number:03d}" for number in range(len(KIND))]
    songs = [Song(name, tmp_path / f"{name}.mp3", "train", "abc"[kind]) for name, kind in zip(names, KIND, strict=True)]
    write_manifest("data/manifest.csv", songs)


@pytest.mark.usefixtures("beside_a_store")
def test_ten_lines_of_python(code_in, capsys: pytest.CaptureFixture[str]) -> None:
    (code,) = code_in("how-to/probe.md", "python")
    assert sum(bool(line.strip()) for line in code.splitlines()) <= 10
    exec(compile(code, "how-to/probe.md", "exec"), {})
    shown = capsys.readouterr().out
    assert "accuracy is above the baseline" in shown
    assert "muq/track" in shown
    assert "song_id,predicted,score:a,score:b,score:c" in shown


@pytest.mark.usefixtures("beside_a_store")
def test_the_commands(code_in, tmp_path: Path) -> None:
    script = "\n".join(["set -eu", *code_in("how-to/probe.md", "bash")])
    environment = {"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin", "OMP_NUM_THREADS": "1"}
    # If matplotlib's search for fonts takes long, it prints a line to stderr.
    environment["MPLCONFIGDIR"] = str(tmp_path / "matplotlib")
    subprocess.run([sys.executable, "-c", "import matplotlib.font_manager"], env=environment, check=True)
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert "accuracy is above the baseline" in done.stdout
    note, counts = done.stderr.splitlines()
    assert note.startswith(
        "note: 30 of 30 songs cannot be compared with their stored records"
    )  # the page needs no audio
    assert counts == "30 songs scored"
    assert load_probe("results/system").classes == ("a", "b", "c")
    with Path("results/scores.csv").open(newline="") as file:
        assert np.mean([row["predicted"] for row in csv.DictReader(file)] == np.array(list("abc"))[KIND]) > 0.9
