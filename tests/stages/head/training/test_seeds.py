"""Several seeds: one run each, mean ± std over them, and an ensemble that lists its heads."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from stages.common.device import DeviceError
from stages.evaluate.evaluation import evaluate_heads
from stages.head.checkpoint.ensemble import head_places, load_heads
from stages.head.config import TrainConfig
from stages.head.errors import HeadError
from stages.head.training.history import Listener
from stages.head.training.runs import Job
from stages.head.training.seeds import SeedsReport, train_seeds
from stages.head.training.train import train_head
from tests.stages.head.training.helpers import StopsAt


@pytest.fixture
def job(tmp_path: Path, learnable, config: TrainConfig) -> Job:
    return Job(
        name="track 2",
        store_root=learnable.store,
        manifest=learnable.manifest,
        track=2,
        out=tmp_path / "seeds",
        config=replace(config, epochs=1, seed=3),
    )


def predictions(folder: Path) -> np.ndarray:
    with (folder / "predictions.csv").open(newline="", encoding="utf-8") as file:
        return np.array([[float(v) for k, v in row.items() if "predicted" in k] for row in csv.DictReader(file)])


def test_each_seed_is_its_own_run_and_the_figures_summarise_them(tmp_path: Path, job: Job) -> None:
    report = train_seeds(job, seeds=2)
    assert report.seeds == (3, 4)
    each = []
    for seed in (3, 4):
        alone = tmp_path / f"alone-{seed}"
        config = replace(job.config, seed=seed)
        each.append(train_head(store=job.store_root, manifest=job.manifest, track=2, out=alone, config=config))
        folder = job.out / f"seed-{seed}"
        assert (folder / "model.safetensors").read_bytes() == (alone / "model.safetensors").read_bytes()
        assert (folder / "params.json").read_bytes() == (alone / "params.json").read_bytes()
    one, other = (run.metrics["mean"]["LCC"] for run in each)
    written = json.loads((job.out / "metrics.json").read_text())
    assert written["mean"]["LCC"] == pytest.approx((one + other) / 2)
    assert written["std"]["mean"]["LCC"] == pytest.approx(abs(one - other) / np.sqrt(2))
    assert set(written) == {*each[0].metrics, "std", "ensemble"}


def test_the_ensemble_scores_as_one_head(job: Job, learnable) -> None:
    report = train_seeds(job, seeds=2)
    found = evaluate_heads(job.out, store=learnable.store, manifest=learnable.manifest, draws=10)
    assert found.utterance == report.ensemble
    parts = [predictions(job.out / name) for name in ("seed-3", "seed-4")]
    np.testing.assert_allclose(predictions(job.out), np.mean(parts, axis=0), atol=2e-6)
    assert report.ensemble["mean"]["LCC"] != report.mean["mean"]["LCC"]


def test_an_interrupted_seed_joins_the_ensemble_only_once_resumed(tmp_path: Path, job: Job) -> None:
    def stops_in_the_second(each: Job) -> tuple[Listener, ...]:
        return (StopsAt(4),) if each.config.seed == 4 else ()

    often = replace(job, config=replace(job.config, evaluate_every=3))
    train_seeds(replace(often, out=tmp_path / "often"), seeds=2)
    with pytest.raises(InterruptedError):
        train_seeds(often, seeds=2, listeners=stops_in_the_second)
    with pytest.raises(HeadError, match=r"seed-4: this run is not complete, and .* needs its head; finish it with"):
        load_heads(job.out)
    before = (job.out / "seed-3" / "run.json").stat().st_mtime_ns
    train_seeds(often, seeds=2, resume=True)
    assert (job.out / "seed-3" / "run.json").stat().st_mtime_ns == before
    for name in ("metrics.json", "predictions.csv", "seed-4/model.safetensors", "seed-4/evaluations.csv"):
        assert (job.out / name).read_bytes() == (tmp_path / "often" / name).read_bytes()


def test_seeds_of_an_earlier_run_are_not_in_the_ensemble(job: Job) -> None:
    train_seeds(job, seeds=3)
    train_seeds(job, seeds=2, resume=True)
    assert [place.name for place in head_places(job.out)] == ["seed-3", "seed-4"]
    assert (job.out / "seed-5" / "config.json").is_file()


def test_one_seed_and_several_in_one_folder_replace_each_other(job: Job) -> None:
    def single() -> None:
        train_head(store=job.store_root, manifest=job.manifest, track=2, out=job.out, config=job.config)

    single()
    with pytest.raises(HeadError, match=r"has the run of one seed, found --seeds 2; train again without --resume"):
        train_seeds(job, seeds=2, resume=True)
    train_seeds(job, seeds=2)
    assert len(load_heads(job.out)) == 2
    single()
    assert head_places(job.out) == [job.out]


def test_complete_seeds_of_another_config_are_not_reused(job: Job) -> None:
    train_seeds(job, seeds=2)
    other = replace(job, config=replace(job.config, sigma=2.0))
    with pytest.raises(
        HeadError, match=r"2 of 2 runs failed; track 2 seed 3: .*sigma was 1\.0, now it is 2\.0; cannot resume"
    ):
        train_seeds(other, seeds=2, resume=True)


def test_other_labels_make_another_run(job: Job) -> None:
    train_seeds(job, seeds=2)
    first = job.manifest.songs[1]
    relabelled = replace(first, labels={**first.labels, "Clarity": 1.23})
    songs = tuple(relabelled if song is first else song for song in job.manifest.songs)
    other = replace(job, manifest=replace(job.manifest, songs=songs))
    with pytest.raises(
        HeadError, match=r"1 of 18 train songs have other ratings, .* \(Clarity was 2\.3, now it is 1\.23\)"
    ):
        train_seeds(other, seeds=2, resume=True)


@pytest.mark.parametrize("names", [["../elsewhere"], [""], [], "seed-3", [3]])
def test_a_list_of_heads_contains_names_of_folders_next_to_it(tmp_path: Path, names: object) -> None:
    (tmp_path / "ensemble.json").write_text(json.dumps({"heads": names}))
    with pytest.raises(HeadError, match=r"ensemble\.json: expected the names of folders beside it, found"):
        head_places(tmp_path)


def test_the_table_shows_mean_std_and_ensemble() -> None:
    def metrics(value: float) -> dict:
        return {name: dict.fromkeys(("LCC", "SRCC", "KTAU", "TTA"), value) for name in ("Musicality", "mean")}

    report = SeedsReport(seeds=(0, 1), mean=metrics(0.5), std=metrics(0.25), ensemble=metrics(0.75))
    assert report.table.splitlines()[2].split() == ["mean", *["0.500", "±", "0.250"] * 4]
    assert report.table.splitlines()[3].split() == ["ensemble", *["0.750"] * 4]


def test_one_seed_does_not_resume_a_folder_of_several(job: Job) -> None:
    train_seeds(job, seeds=2)
    before = (job.out / "metrics.json").read_bytes()
    with pytest.raises(HeadError, match=r"seeds: has heads of several seeds, expected one run; cannot resume"):
        train_head(store=job.store_root, manifest=job.manifest, track=2, out=job.out, config=job.config, resume=True)
    assert (job.out / "metrics.json").read_bytes() == before


def test_older_seeds_stay_if_training_cannot_start(job: Job) -> None:
    train_seeds(job, seeds=2)
    with pytest.raises(DeviceError, match="device 'tpu' cannot be used here"):
        train_seeds(replace(job, config=replace(job.config, device="tpu")), seeds=2)
    assert len(load_heads(job.out)) == 2
    assert (job.out / "metrics.json").is_file()


def test_shuffled_ratings_are_the_same_for_all_heads(job: Job) -> None:
    shuffled = replace(job, config=replace(job.config, shuffle_labels=True))
    train_seeds(shuffled, seeds=2)

    def rated(folder: Path) -> list[list[str]]:
        with (folder / "predictions.csv").open(newline="", encoding="utf-8") as file:
            return [[value for name, value in row.items() if "rated" in name] for row in csv.DictReader(file)]

    assert rated(job.out) == rated(job.out / "seed-3") == rated(job.out / "seed-4")
    assert rated(job.out)[0] != [f"{value:.6f}" for value in job.manifest.songs[0].labels.values()]
