"""The pipeline in DVC: dvc repro, metrics, plots and experiments, in a clone whose path has spaces."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from stages.extract.audio.source import source_hash
from stages.songs import read_manifest
from store import EmbeddingStore

ROOT = Path(__file__).resolve().parents[2]
PARAMS = """
dataset: demo
demo: {songs: 20, seconds: 5.0, seed: 0}
encoders: {preset: tiny, layers: [2]}
extract: {augment: 1, seed: 0}
head: {size: small, beta: null, learning_rate: 1.0e-3, accumulate: 1, epochs: 1, seed: 0}
"""
WHO = {"GIT_AUTHOR_NAME": "t", "GIT_AUTHOR_EMAIL": "t@t", "GIT_COMMITTER_NAME": "t", "GIT_COMMITTER_EMAIL": "t@t"}
# Without the user's hooks, signing and templates.
NOBODY = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}


class Clone:
    """A repository with the project's pipeline and a small demo."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        copied = [".dvc/config", ".dvc/.gitignore", ".dvcignore", ".gitignore", "dvc.yaml"]
        code = [*(ROOT / "stages").rglob("*.py"), *(ROOT / "store").rglob("*.py")]
        for name in [*copied, *(str(path.relative_to(ROOT)) for path in code)]:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes((ROOT / name).read_bytes())
        (folder / "params.yaml").write_text(PARAMS)
        self.git("init", "--quiet", "--initial-branch", "main")
        self.commit()

    def run(self, *command: str) -> str:
        place = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        # In a git hook, GIT_DIR and others name the project's own repository.
        environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
        environment |= {**WHO, **NOBODY, "PATH": place, "COLUMNS": "200"}
        done = subprocess.run(
            command, cwd=self.folder, env=environment, capture_output=True, text=True, timeout=600, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    def git(self, *arguments: str) -> str:
        return self.run("git", *arguments)

    def dvc(self, *arguments: str) -> str:
        return self.run("dvc", *arguments)

    def commit(self) -> None:
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", "all")

    def metrics(self, *revisions: str) -> dict[str, dict[str, float]]:
        """Track 2's four means, by experiment."""
        table = csv.DictReader(self.dvc("exp", "show", "--csv", *revisions).splitlines())
        prefix = "results/track2/metrics.json:"
        return {
            row["Experiment"] or row["rev"]: {k.removeprefix(prefix): v for k, v in row.items() if k.startswith(prefix)}
            for row in table
        }


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """The clone after its first `dvc repro`, committed."""
    clone = Clone(tmp_path_factory.mktemp("a place") / "the project")
    clone.dvc("repro")
    clone.commit()
    return clone


def ran(output: str) -> set[str]:
    return {line.split("'")[1] for line in output.splitlines() if line.startswith("Running stage")}


def test_a_second_repro_runs_no_stage(clone: Clone) -> None:
    again = clone.dvc("repro")
    assert ran(again) == set()
    assert "Data and pipelines are up to date" in again
    assert clone.git("status", "--porcelain") == ""


@pytest.mark.parametrize(
    ("changed", "stages"),
    [
        ("stages/head/share/card.py", set()),
        ("stages/scoring/plots.py", set()),
        ("stages/extract/estimate.py", set()),
        ("store/upkeep/verification.py", set()),
        ("stages/songs/folder.py", {"prepare"}),
        ("stages/extract/encoders/layers/mel.py", {"extract"}),
        ("store/format/arrays.py", {"extract"}),
        ("store/format/quantisation.py", {"extract", "train@1", "train@2"}),
        ("stages/head/training/losses.py", {"train@1", "train@2"}),
        ("stages/metrics/agreement.py", {"train@1", "train@2", "evaluate@1", "evaluate@2"}),
        ("stages/evaluate/plots.py", {"evaluate@1", "evaluate@2"}),
    ],
)
def test_changed_code_reruns_the_stages_whose_results_it_changes(clone: Clone, changed: str, stages: set[str]) -> None:
    path = clone.folder / changed
    before = path.read_text()
    path.write_text(f"{before}# changed\n")
    try:
        assert json.loads(clone.run("dvc", "status", "--json")).keys() == stages
    finally:
        path.write_text(before)


def test_metrics_and_plots_are_shown(clone: Clone) -> None:
    shown = json.loads(clone.dvc("metrics", "show", "--json"))
    for track in ("track1", "track2"):
        assert shown[""]["data"][f"results/{track}/metrics.json"]["data"].keys() == {"LCC", "SRCC", "KTAU", "TTA"}
    clone.dvc("plots", "show", "--out", "dvc_plots")
    page = (clone.folder / "dvc_plots" / "index.html").read_text(encoding="utf-8")
    for name in ("loss", "gradient_norm", "validation", "calibration", "predicted against rated, track 2"):
        assert f'"{name}"' in page or f"plot_{name}" in page or name in page
    assert len(list((clone.folder / "dvc_plots" / "static").glob("*.png"))) == 4


def test_a_changed_beta_reruns_only_stage_two(clone: Clone) -> None:
    path = clone.folder / "params.yaml"
    before = path.read_text()
    path.write_text(before.replace("beta: null", "beta: 0.3"))
    try:
        assert json.loads(clone.run("dvc", "status", "--json")).keys() == {"train@1", "train@2"}
    finally:
        path.write_text(before)


def test_an_experiment_in_the_queue_uses_the_store_that_the_receipt_names(clone: Clone) -> None:
    """Its own workspace has no store."""
    params = json.loads((clone.folder / "models" / "track2" / "params.json").read_text())
    assert params["beta"] == 0.05
    clone.dvc("exp", "run", "--queue", "--set-param", "head.beta=0.9", "--name", "queued", "evaluate@2")
    clone.dvc("exp", "run", "--run-all")
    assert ran(clone.dvc("queue", "logs", "queued")) == {"train@2", "evaluate@2"}
    found = clone.metrics()["queued"]
    assert len(found) == 4
    assert all(float(value) == float(value) for value in found.values())


def test_other_songs_under_the_same_names_are_encoded_again(clone: Clone) -> None:
    """The last test: it leaves other songs in the clone than those of its commit."""
    root, manifest = clone.folder / "data" / "demo-tiny.zarr", clone.folder / "data" / "manifest.csv"
    before = EmbeddingStore.open(root).rows
    output = clone.dvc("exp", "run", "--set-param", "demo.seed=1", "extract")
    assert ran(output) == {"prepare", "extract"}
    assert ", 20 changed songs made again; " in output
    store, songs = EmbeddingStore.open(root), read_manifest(manifest).songs
    assert before.keys() <= store.rows.keys(), "songs that train now have views that they had not"
    assert {row.source for row in store.rows.values()} == {source_hash(song.path) for song in songs}
    assert not {row.source for row in store.rows.values()} & {row.source for row in before.values()}
    # DVC does not track audio; users who replace a song by hand must run this stage.
    songs[0].path.write_bytes(songs[1].path.read_bytes())
    assert ", 1 changed song made again; " in clone.dvc("repro", "--force", "--single-item", "extract")
    shown = clone.run("hear-store", "verify", str(root), "--manifest", str(manifest))
    assert shown.startswith(f"{len(store)} records good, 0 problems, 0 removed\n")
