"""`hear-head ablate` and `train --seeds`: the same bytes for any number of runs at a time."""

import csv
import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from pipeline.cli.head import app
from pipeline.runs import choose_parallelism
from pipeline.training_progress import TrainingBar
from stages.evaluate.ablation import TABLE_2
from stages.head.config import TrainConfig
from stages.head.errors import HeadError
from stages.head.training.history import StepRow
from stages.head.training.runs import Job
from stages.songs import DIMENSIONS, Song, read_manifest, write_manifest
from store import EmbeddingStore, Spec, StoreWriter

ROWS = [row.setting.name for row in TABLE_2]
SMALL = ["--size", "small", "--epochs", "1", "--batch-size", "4", "--accumulate", "1", "--learning-rate", "0.003"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve songs of 12 to 30 frames, an augmented view of each of the nine training songs, and a manifest."""
    folder = tmp_path_factory.mktemp("ablate")
    generator = np.random.default_rng(0)
    spec = Spec(streams=("muq/segment", "muq/track"), channels=8, encoders={"muq": "sha256:b"}, layers=(10,))
    writer = StoreWriter.open(folder / "store.zarr", spec)
    songs = []
    for number in range(12):
        rated = np.clip(3 + generator.normal(0, 1, 5), 1, 5)
        split = "train" if number % 4 else "val"
        for view in range(2 if split == "train" else 1):
            frames = generator.normal(0, 1, (2, int(generator.integers(12, 30)), 8)) + rated.mean() - 3
            writer.write(f"söng {number}", view, frames.astype(np.float32), attributes={"seconds": 1.0})
        labels = dict(zip(DIMENSIONS, rated.tolist(), strict=True))
        songs.append(Song(f"söng {number}", folder / f"{number}.wav", split, "", labels, {}))
    write_manifest(folder / "manifest.csv", songs)
    return folder


@pytest.fixture
def call(place: Path) -> Callable[..., Result]:
    """A function that runs a command of `hear-head` on the songs of `place`."""

    def run(command: str, *options: str) -> Result:
        data = ["--store", str(place / "store.zarr"), "--manifest", str(place / "manifest.csv"), "--track", "2"]
        return CliRunner().invoke(app, [command, *data, *SMALL, *options])

    return run


@pytest.fixture(scope="module")
def whole(place: Path) -> Path:
    """All rows, trained in this process, one thread each."""
    data = ["--store", str(place / "store.zarr"), "--manifest", str(place / "manifest.csv"), "--track", "2"]
    options = ["--out", str(place / "whole"), "--parallel", "1", "--threads", "1"]
    done = CliRunner().invoke(app, ["ablate", *data, *SMALL, *options])
    assert done.exit_code == 0, done.output
    return place / "whole"


def numbers_of(out: Path) -> dict[str, bytes]:
    """The results of a table's runs, and the table."""
    names = ("model.safetensors", "novelty.safetensors", "metrics.json", "predictions.csv", "evaluations.csv")
    runs = {f"{row}/{name}": (out / row / name) for row in ROWS for name in names if (out / row / name).exists()}
    files = {**runs, **{name: out / name for name in ("ablation.md", "ablation.csv")}}
    return {name: path.read_bytes() for name, path in files.items()}


def made(out: Path, rows: Sequence[str] = ROWS) -> dict[str, int]:
    return {row: (out / row / "run.json").stat().st_mtime_ns for row in rows}


def files_in(out: Path) -> dict[str, bytes]:
    return {str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*") if path.is_file()}


def test_the_table_is_printed_and_written_with_the_papers_results(whole: Path, call: Callable[..., Result]) -> None:
    before = made(whole)
    again = call("ablate", "--out", str(whole), "--parallel", "1", "--threads", "1")
    assert again.exit_code == 0
    assert again.stderr == "8 of 8 runs are complete\n"
    assert again.stdout == (whole / "ablation.md").read_text(encoding="utf-8")
    assert made(whole) == before
    with (whole / "ablation.csv").open(newline="", encoding="utf-8") as file:
        table = {row["row"]: row for row in csv.DictReader(file)}
    assert list(table) == ROWS
    for name in ROWS:
        scored = json.loads((whole / name / "metrics.json").read_text())["mean"]
        assert [float(table[name][metric]) for metric in scored] == pytest.approx(list(scored.values()), abs=1e-6)
    assert len({(whole / name / "model.safetensors").read_bytes() for name in ROWS}) == 8


@pytest.mark.parametrize("views", [None, 0])
def test_rows_take_equal_steps_unless_epochs_have_more_views(
    tmp_path: Path, place: Path, call: Callable[..., Result], views: int | None
) -> None:
    """Nine training songs, three views of each: 27 records in rows with augmentation, 9 in the others."""
    store = EmbeddingStore.open(place / "store.zarr")
    writer = StoreWriter.open(tmp_path / "store.zarr", store.spec)
    for song, view in store:
        writer.write(song, view, store.read(song, view).astype(np.float32), attributes={"seconds": 1.0})
        if view == 1:
            writer.write(song, 2, store.read(song, view).astype(np.float32), attributes={"seconds": 1.0})
    more = [] if views is None else ["--views-per-epoch", str(views)]
    options = ["--out", str(tmp_path / "out"), "--store", str(tmp_path / "store.zarr"), "--epochs", "2", *more]
    done = call("ablate", *options, "--parallel", "1")
    assert done.exit_code == 0, done.output
    steps = {row: json.loads((tmp_path / "out" / row / "run.json").read_text())["steps"] for row in ROWS}
    # Batches of 4: 3 per pass over 9 records, 7 over 27.
    expected = {row: 2 * (7 if views == 0 and "has" in row else 3) for row in ROWS}
    assert steps == expected
    with (tmp_path / "out" / "ablation.csv").open(newline="", encoding="utf-8") as file:
        assert {row["row"]: int(row["steps"]) for row in csv.DictReader(file)} == expected
    told = (
        "6 in every run; an epoch has one view of each song"
        if views is None
        else "not equal: baseline 6, mmr 6, has 14,"
    )
    assert f"- Steps: {told}" in done.stdout
    assert "- Epoch: the best of 2 validations per run on these same songs, by the sum of LCC, SRCC," in done.stdout
    params = {row: json.loads((tmp_path / "out" / row / "params.json").read_text()) for row in ROWS}
    assert {each["views_per_epoch"] for each in params.values()} == {1 if views is None else 0}


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
def test_two_at_a_time_give_the_same_bytes(tmp_path: Path, whole: Path, call: Callable[..., Result]) -> None:
    done = call("ablate", "--out", str(tmp_path / "two"), "--parallel", "2", "--threads", "1")
    assert done.exit_code == 0, done.output
    assert (
        "0 of 8 runs are complete; 8 to train, 2 at a time, 1 CPU thread each (at most about 0.7 GB per run"
        in done.stderr
    )
    assert numbers_of(tmp_path / "two") == numbers_of(whole)


def test_an_interrupted_ablation_reports_remaining_runs_and_resumes_to_the_same_bytes(
    tmp_path: Path, whole: Path, call: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[StepRow] = []

    def press(bar: TrainingBar, row: StepRow) -> None:
        steps.append(row)
        if len(steps) == 9:
            raise KeyboardInterrupt

    options = ("--out", str(tmp_path / "cut"), "--parallel", "1", "--threads", "1")
    with monkeypatch.context() as patched:
        patched.setattr(TrainingBar, "step", press)
        stopped = call("ablate", *options)
    assert stopped.exit_code != 0
    assert "interrupted: 6 of 8 runs are left; run the same command again to continue" in stopped.stderr
    before = made(tmp_path / "cut", ROWS[:2])
    assert call("ablate", *options).exit_code == 0
    assert made(tmp_path / "cut", ROWS[:2]) == before
    assert numbers_of(tmp_path / "cut") == numbers_of(whole)


@pytest.mark.parametrize(
    ("options", "difference"),
    [
        (("--beta", "0.4"), "l/params.json: beta was 0.05, now it is 0.4; 4 of 8"),
        (("--views-per-epoch", "0"), "baseline/params.json: views_per_epoch was 1, now it is 0; 8 of 8"),
        (("--seeds", "2"), "baseline: this is a run of one seed, expected 2 seeds; 8 of 16"),
    ],
)
def test_rows_of_other_runs_are_refused_and_kept(
    tmp_path: Path, whole: Path, call: Callable[..., Result], options: tuple[str, ...], difference: str
) -> None:
    out = shutil.copytree(whole, tmp_path / "out")
    before = files_in(out)
    done = call("ablate", "--out", str(out), "--parallel", "1", "--threads", "1", *options)
    assert done.exit_code == 1
    assert isinstance(done.exception, HeadError)
    assert str(done.exception) == (
        f"{out}/{difference} runs in {out} differ from this command, and nothing was changed: restore the setting, "
        "choose another --out, or train them again with --replace"
    )
    assert files_in(out) == before


def test_an_ablation_by_an_older_version_is_kept_and_completed_with_all_views(
    tmp_path: Path, whole: Path, call: Callable[..., Result]
) -> None:
    """It used all views by default, and wrote null for it."""
    out = shutil.copytree(whole, tmp_path / "out")
    for row in ROWS:
        params = json.loads((out / row / "params.json").read_text())
        (out / row / "params.json").write_text(json.dumps({**params, "views_per_epoch": None}))
    before = files_in(out)
    options = ("--out", str(out), "--parallel", "1", "--threads", "1")
    refused = call("ablate", *options)
    assert isinstance(refused.exception, HeadError)
    assert "views_per_epoch was 0, now it is 1; 8 of 8 runs" in str(refused.exception)
    assert files_in(out) == before
    done = call("ablate", *options, "--views-per-epoch", "0")
    assert (done.exit_code, done.stderr) == (0, "8 of 8 runs are complete\n")
    assert {name for name, data in files_in(out).items() if before[name] != data} <= {"ablation.md", "ablation.png"}


def test_only_rows_affected_by_a_change_are_trained_again(
    tmp_path: Path, whole: Path, call: Callable[..., Result]
) -> None:
    out = shutil.copytree(whole, tmp_path / "out")
    before = made(out)
    done = call("ablate", "--out", str(out), "--parallel", "1", "--threads", "1", "--beta", "0.4", "--replace")
    assert done.exit_code == 0, done.output
    assert f"mmr-l will be trained again: {out}/mmr-l/params.json: beta was 0.05, now it is 0.4\n" in done.stderr
    assert "4 of 8 runs are complete; 4 to train" in done.stderr
    after = made(out)
    assert {row for row in ROWS if after[row] != before[row]} == {row for row in ROWS if row.split("-")[-1] == "l"}


def test_several_seeds_per_row(tmp_path: Path, call: Callable[..., Result]) -> None:
    out = tmp_path / "seeds"
    done = call("ablate", "--out", str(out), "--parallel", "1", "--seeds", "2")
    assert done.exit_code == 0, done.output
    assert "0 of 16 runs are complete" in done.stderr
    assert "- Means ± standard deviation over 2 seeds." in done.stdout
    each = [json.loads((out / "mmr" / f"seed-{seed}" / "metrics.json").read_text())["mean"]["LCC"] for seed in (0, 1)]
    mean, std = np.mean(each), np.std(each, ddof=1)
    assert f"| {mean:.3f} ± {std:.3f} | {TABLE_2[1].metrics(2)['LCC']:.3f} |" in done.stdout
    before = files_in(out)
    single = call("ablate", "--out", str(out), "--parallel", "1")
    assert isinstance(single.exception, HeadError)
    assert "baseline: has heads of several seeds, expected one run; 8 of 8 runs" in str(single.exception)
    assert files_in(out) == before


def test_a_failed_row_is_named_and_the_others_are_complete(
    tmp_path: Path, whole: Path, call: Callable[..., Result]
) -> None:
    out = shutil.copytree(whole, tmp_path / "out")
    for row in ("mmr", "has-l"):
        (out / row / "run.json").unlink()
    (out / "mmr" / "resume.pt").write_bytes(b"damaged")
    done = call("ablate", "--out", str(out), "--parallel", "1", "--threads", "1")
    assert done.exit_code == 1
    assert isinstance(done.exception, HeadError)
    assert str(done.exception).startswith("1 of 2 runs failed; mmr: ")
    assert "resume.pt: cannot be resumed" in str(done.exception)
    before, after = (folder.joinpath("ablation.md").read_text().splitlines() for folder in (whole, out))
    assert after[3].count("failed") == 4
    assert [*after[:3], *after[4:]] == [*before[:3], *before[4:]]


def test_seeds_of_train(tmp_path: Path, call: Callable[..., Result], place: Path) -> None:
    done = call("train", "--out", str(tmp_path / "seeds"), "--seeds", "2", "--seed", "5")
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines()[0].split() == ["2", "seeds", "LCC", "SRCC", "KTAU", "TTA"]
    assert json.loads((tmp_path / "seeds" / "ensemble.json").read_text()) == {"heads": ["seed-5", "seed-6"]}
    data = ["--store", str(place / "store.zarr"), "--manifest", str(place / "manifest.csv")]
    checkpoint = ["--checkpoint", str(tmp_path / "seeds"), "--out", str(tmp_path / "found.json"), "--bootstrap", "10"]
    assert CliRunner().invoke(app, ["evaluate", *data, *checkpoint]).exit_code == 0
    found = json.loads((tmp_path / "found.json").read_text())["utterance"]["mean"]
    written = json.loads((tmp_path / "seeds" / "metrics.json").read_text())["ensemble"]["mean"]
    assert found == pytest.approx(written, abs=1e-6)


@pytest.mark.parametrize(
    ("cores", "free", "given", "expected"),
    [
        (4, 100.0, {}, (4, 1)),
        (32, 100.0, {}, (8, 4)),
        (32, 2.0, {}, (2, 4)),
        (32, 0.1, {}, (1, 4)),
        (4, 100.0, {"threads": 2}, (2, 2)),
        (4, 0.1, {"parallel": 3}, (3, 1)),
    ],
)
def test_cores_and_memory_limit_parallel_runs(
    place: Path, monkeypatch: pytest.MonkeyPatch, cores: int, free: float, given: dict, expected: tuple[int, int]
) -> None:
    monkeypatch.setattr("pipeline.runs.count_cores", lambda: cores)
    monkeypatch.setattr("pipeline.runs.memory_limit", lambda: free * 1e9)
    monkeypatch.setattr("psutil.virtual_memory", lambda: type("Memory", (), {"available": 1e12}))
    job = Job(
        name="",
        store_root=str(place / "store.zarr"),
        manifest=read_manifest(place / "manifest.csv", check_files=False),
        track=1,
        out=place / "none",
        config=TrainConfig(size="small", device="cpu"),
    )
    chosen = choose_parallelism([(job, job.open())] * 8, **given)
    assert (chosen.parallel, chosen.threads, chosen.one_gpu_each) == (*expected, False)
