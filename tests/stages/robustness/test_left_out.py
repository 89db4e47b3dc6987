"""Heads without a generator: what they train on, and how they are compared."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from stages.head.checkpoint.head import Head, HeadConfig
from stages.head.checkpoint.saved import save_head
from stages.head.config import TrainConfig
from stages.head.errors import HeadError
from stages.head.model.hear import HearHead
from stages.head.model.sizes import preset_sizes
from stages.head.training.runs import Job
from stages.robustness.errors import StressError
from stages.robustness.left_out import check_left_out, compare_left_out, left_out_jobs, left_out_table
from stages.songs import DIMENSIONS, Manifest


@pytest.fixture
def job(learnable: Any, config: TrainConfig, tmp_path: Path) -> Job:
    """Three systems of eight songs, two of each for validation."""
    settings = replace(config, epochs=1)
    return Job(name="", store_root=learnable.store, manifest=learnable.manifest, track=2, out=tmp_path, config=settings)


def test_heads_never_hear_the_group_they_are_judged_on(job: Job) -> None:
    systems = job.manifest.column("system")
    for group, one in left_out_jobs(job, "system").items():
        data = one.open()
        heard = {systems[song] for song in (*data.train.songs, *data.val.songs)}
        assert heard == set(systems.values()) - {group}


def test_heads_are_compared_on_the_same_songs(job: Job) -> None:
    """Untrained heads, which differ."""
    jobs = left_out_jobs(job, "system")
    for seed, one in enumerate(jobs.values()):
        data = one.open()
        torch.manual_seed(seed)
        sizes = preset_sizes("small", features=data.features, classes=len(DIMENSIONS))
        spec = data.store.spec.to_json()
        config = HeadConfig(sizes=sizes, dimensions=DIMENSIONS, streams=data.streams, spec=spec)
        save_head(one.out, Head(HearHead(sizes), config))
    found = compare_left_out(jobs, "system")
    assert [(one.group, one.songs) for one in found] == [("system 0", 2), ("system 1", 2), ("system 2", 2)]
    for one in found:
        difference = one.unheard["error"]["MAE"] - one.heard["error"]["MAE"]
        assert one.error.mean == pytest.approx(difference, abs=1e-6)
        assert abs(difference) > 1e-3
    table = left_out_table(found, "system")
    assert "too few songs for a conclusion: system 0, system 1, system 2" in table
    assert "of concern" not in table


def test_another_run_is_refused_before_training(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = left_out_jobs(job, "system")
    check_left_out(jobs)
    monkeypatch.setattr(Job, "difference", lambda one, data: "seed was 0" if one.out.name == "without system 2" else "")
    with pytest.raises(HeadError, match="seed was 0; restore the setting, or choose another --out"):
        check_left_out(jobs)


def test_one_group_cannot_be_left_out(job: Job) -> None:
    one = tuple(song for song in job.manifest.songs if song.system == "system 0")
    with pytest.raises(StressError, match=r"column 'system' has 1 group\(s\) in train and val, expected two or more"):
        left_out_jobs(replace(job, manifest=Manifest(job.manifest.path, one)), "system")
    split = tuple(song for song in job.manifest.songs if song.split == "train" or song.system == "system 0")
    with pytest.raises(StressError, match="without system 'system 0' no song is left for val"):
        left_out_jobs(replace(job, manifest=Manifest(job.manifest.path, split)), "system")
