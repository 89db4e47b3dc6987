"""Changed songs in a store: made once, made again where something changed, and through the normal path."""

import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from stages.common.processes import Processes
from stages.extract.audio.reading import read_audio, read_channels
from stages.extract.encoders import MultiScale
from stages.extract.run import Outcome
from stages.head.checkpoint.ensemble import Ensemble
from stages.robustness import changes as definitions
from stages.robustness.changes import Change, parse_record_id, record_id, select_changes
from stages.robustness.embed import make_records, open_stress_store, plan_stress, stress_spec
from stages.robustness.prepare import prepare_changed
from stages.scoring.inputs import InputSong
from stages.scoring.sources.audio import AudioSource
from store import EmbeddingStore, StoreWriter, index
from store.errors import HearError

CHANGES = select_changes(["mono", "polarity"])


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Change songs here; the tests of the command start processes."""
    monkeypatch.setattr(Processes, "call", lambda _, seconds, function, *arguments: function(*arguments))


def extract(root: Path, songs: list[InputSong], encoders: MultiScale, changes: tuple[Change, ...]) -> list[Outcome]:
    """Make what the plan lacks."""
    plan = plan_stress(songs, changes, open_stress_store(str(root)))
    writer = StoreWriter.open(root, stress_spec(encoders, pool=1))
    outcomes: list[Outcome] = []
    make_records(plan, encoders, writer, processes=1, report=outcomes.append, stop=threading.Event())
    index(str(root))
    return outcomes


def wanted(root: Path, songs: list[InputSong], changes: tuple[Change, ...] = CHANGES) -> list[str]:
    plan = plan_stress(songs, changes, open_stress_store(str(root)))
    return [task.song_id for task in plan.tasks]


def test_only_what_changed_is_made_again(
    tmp_path: Path, songs: list[InputSong], encoders: MultiScale, ensemble: Ensemble, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "stress.zarr"
    first = extract(root, songs, encoders, CHANGES)
    assert [outcome.status for outcome in first] == ["done"] * 6
    assert wanted(root, songs) == []
    # The unchanged song is what scoring gets from the file, up to float16.
    store = EmbeddingStore.open(str(root))
    samples = read_audio(songs[0].path, rate=24_000).samples
    plain = AudioSource(encoders, ensemble).frames(samples)
    assert np.allclose(store.read(record_id(songs[0].song_id)), plain, atol=2e-3, rtol=2e-3)
    # Another song under the same name.
    soundfile.write(songs[1].path, np.zeros((48_000, 2)), 24_000)
    assert {parse_record_id(record)[0] for record in wanted(root, songs)} == {songs[1].song_id}
    assert len(wanted(root, songs)) == 3
    extract(root, songs, encoders, CHANGES)
    assert wanted(root, songs) == []
    assert EmbeddingStore.open(str(root)).attributes(record_id(songs[1].song_id))["loudest_dbfs"] == -140
    # Another definition of one change.
    other = (CHANGES[0], replace(CHANGES[1], version=2))
    monkeypatch.setattr(definitions, "_BY_NAME", {**definitions._BY_NAME, other[1].name: other[1]})
    assert wanted(root, songs, other) == [record_id(song.song_id, other[1], 1) for song in songs]


def test_a_stopped_run_continues(tmp_path: Path, songs: list[InputSong], encoders: MultiScale) -> None:
    root = tmp_path / "stress.zarr"
    plan, writer = plan_stress(songs, CHANGES, None), StoreWriter.open(root, stress_spec(encoders, pool=1))
    stop = threading.Event()
    stop.set()
    tally = make_records(plan, encoders, writer, processes=1, report=lambda outcome: None, stop=stop)
    assert tally.done == 1
    assert len(wanted(root, songs)) == 5


def test_files_that_cannot_be_read(tmp_path: Path, songs: list[InputSong], encoders: MultiScale) -> None:
    bad = InputSong("bad", tmp_path / "bad.wav")
    bad.path.write_text("no audio")
    plan = plan_stress([InputSong("gone", tmp_path / "gone.wav"), InputSong("none", None)], CHANGES, None)
    assert not plan.tasks
    assert "gone.wav: cannot be read: No such file" in plan.unread["gone"]
    assert "has no file" in plan.unread["none"]
    outcomes = extract(tmp_path / "stress.zarr", [bad], encoders, CHANGES[:1])
    assert [outcome.status for outcome in outcomes] == ["failed"] * 2
    assert "bad.wav: FFmpeg cannot decode it as audio" in outcomes[0].error


def test_another_store_is_refused(tmp_path: Path, encoders: MultiScale) -> None:
    root = str(tmp_path / "songs.zarr")
    StoreWriter.open(root, replace(stress_spec(encoders, pool=1), augmentation=""))
    with pytest.raises(HearError, match=r"songs.zarr: is a store of hear-extract .*expected one of hear-head stress"):
        open_stress_store(root)
    assert open_stress_store(str(tmp_path / "none.zarr")) is None


def test_channels_are_decoded_and_mixed_after_the_change(tmp_path: Path) -> None:
    """Opposite channels are silence in mono; clipping one of them first is not."""
    path = tmp_path / "song.flac"
    left = np.random.default_rng(0).standard_normal(24_000) * 0.2
    soundfile.write(path, np.stack([left, -left], axis=1), 24_000, subtype="PCM_24")
    samples, rate, damage = read_channels(path)
    assert (samples.shape, rate, damage) == ((2, 24_000), 24_000, {})
    assert np.abs(samples[0] - left).max() < 2**-22
    assert prepare_changed(record_id("song"), path).loudest == -140
    assert prepare_changed("song|white-noise|10", path).loudest > -60
