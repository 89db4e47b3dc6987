"""Extraction of songs on a worker: existing views are kept, and errors are returned as values."""

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from stages.extract.config import ExtractConfig
from stages.extract.encoders import MultiScale
from stages.extract.plan import SongTask
from stages.extract.worker import WorkerConfig, extract_songs, extractor_for
from store import StoreError, StoreWriter

EXTRACT_CONFIG = ExtractConfig(preset="tiny", muq="", musicfm="", layers=(2,))


@pytest.fixture
def task(tmp_path: Path) -> Iterator[SongTask]:
    soundfile.write(tmp_path / "song.wav", np.random.default_rng(0).uniform(-0.5, 0.5, 12_000), 24_000)
    yield SongTask("song", tmp_path / "song.wav", (0, 1, 2))
    extractor_for.cache_clear()


@pytest.fixture
def config(tmp_path: Path) -> WorkerConfig:
    return WorkerConfig(str(tmp_path / "s.zarr"), EXTRACT_CONFIG, processes=0)


def test_views_of_a_lost_worker_are_kept(task: SongTask, config: WorkerConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    StoreWriter.open(config.root, EXTRACT_CONFIG.spec(EXTRACT_CONFIG.load_encoders()))
    launch, made = MultiScale.launch, []

    def counted(self: MultiScale, waveform: Any, **more: Any) -> Any:
        made.append(waveform)
        return launch(self, waveform, **more)

    monkeypatch.setattr(MultiScale, "launch", counted)
    before = extract_songs([SongTask("song", task.path, (0, 2))], config, threading.Event())
    assert (len(made), [outcome.view for outcome in before.outcomes]) == (2, [0, 2])
    after = extract_songs([task], config, threading.Event())
    assert len(made) == 3
    assert sorted(outcome.view for outcome in after.outcomes) == [0, 1, 2]
    assert {outcome.status for outcome in after.outcomes} == {"done"}


def test_stale_views_are_made_again_unless_a_lost_worker_replaced_them(
    task: SongTask, config: WorkerConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = StoreWriter.open(config.root, EXTRACT_CONFIG.spec(EXTRACT_CONFIG.load_encoders()))
    assert extract_songs([task], config, threading.Event()).error is None
    old = {view: str(writer.digest("song", view)) for view in task.views}
    soundfile.write(task.path, np.random.default_rng(1).uniform(-0.5, 0.5, 12_000), 24_000)
    again, launch, made = replace(task, replaces=old), MultiScale.launch, []

    def counted(self: MultiScale, waveform: Any, **more: Any) -> Any:
        made.append(waveform)
        return launch(self, waveform, **more)

    monkeypatch.setattr(MultiScale, "launch", counted)
    lost = extract_songs([replace(again, views=(0, 2))], config, threading.Event())
    assert (len(made), [outcome.view for outcome in lost.outcomes]) == (2, [0, 2])
    after = extract_songs([again], config, threading.Event())
    assert len(made) == 3
    assert sorted((outcome.view, outcome.status) for outcome in after.outcomes) == [
        (0, "done"),
        (1, "done"),
        (2, "done"),
    ]
    assert all(writer.digest("song", view) not in (None, digest) for view, digest in old.items())


def test_missing_store_is_an_error_and_not_created(task: SongTask, config: WorkerConfig) -> None:
    result = extract_songs([task], config, threading.Event())
    assert result.outcomes == ()
    assert "cannot find the store" in str(result.error)
    assert config.root in str(result.error)
    assert not Path(config.root).exists()


def test_views_before_an_error_count(task: SongTask, config: WorkerConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    StoreWriter.open(config.root, EXTRACT_CONFIG.spec(EXTRACT_CONFIG.load_encoders()))
    assert extract_songs([SongTask("song", task.path, (0,))], config, threading.Event()).error is None
    full = StoreError("no space left")

    def write_record(self: StoreWriter, record: Any, *, replaces: str | None) -> bool:
        raise full

    monkeypatch.setattr(StoreWriter, "write_record", write_record)
    result = extract_songs([task], config, threading.Event())
    assert result.error is full
    assert [outcome.view for outcome in result.outcomes] == [0]


def test_folders_of_weights_become_absolute_and_hub_ids_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "weights" / "muq").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    config = ExtractConfig(preset="pretrained", muq="weights/muq", musicfm="minzwon/MusicFM").with_absolute_paths()
    assert (config.muq, config.musicfm) == (str(tmp_path / "weights" / "muq"), "minzwon/MusicFM")
