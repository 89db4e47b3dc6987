"""Demo songs: SongEval's layout, seeded, with each dimension visible in simple spectral statistics."""

import hashlib
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from scipy.stats import spearmanr

from stages.songs import DIMENSIONS, Song, SongsError
from stages.songs.demo.layout import make_demo
from stages.songs.demo.produce import synthesise
from stages.songs.demo.qualities import Qualities, draw_qualities, rate
from stages.songs.songeval import read_songeval

MIDDLING = dict.fromkeys(("coherence", "musicality", "memorability", "clarity", "naturalness"), 0.5)


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo")
    make_demo(folder, songs=40, seconds=12.0, seed=0)
    return folder


@pytest.fixture(scope="module")
def songs(demo: Path) -> list[Song]:
    return read_songeval(demo, official=False)


def hashes(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_the_layout_is_songevals(demo: Path, songs: list[Song]) -> None:
    rows = [json.loads(line) for line in (demo / "metadata.jsonl").read_text().splitlines()]
    assert [row["file_name"] for row in rows] == [f"flac/{number}.flac" for number in range(1, 41)]
    for row in rows:
        assert len(row["annotation"]) == 4
        for rater in row["annotation"]:
            assert all(isinstance(rater[name], float) and 1 <= rater[name] <= 5 for name in DIMENSIONS)
            assert isinstance(rater["annotator"], str)
    validation = (demo / "val_ids.txt").read_text().split()
    assert len(validation) == 10
    assert {song.song_id for song in songs if song.split == "val"} == {Path(line).stem for line in validation}
    assert len({song.system for song in songs}) > 3


def test_songs_are_stereo_flac_of_the_requested_length(songs: list[Song]) -> None:
    for song in songs:
        about = soundfile.info(song.path)
        assert (about.format, about.samplerate, about.channels, about.frames) == ("FLAC", 44_100, 2, 12 * 44_100)
    samples, _ = soundfile.read(songs[0].path)
    assert np.abs(samples).max() <= 1
    assert 0.05 < np.sqrt(np.mean(samples**2)) < 0.2
    assert not np.array_equal(samples[:, 0], samples[:, 1])


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(tmp_path: Path) -> None:
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        make_demo(tmp_path / name, songs=6, seconds=2.0, seed=seed)
    first, again, other = (hashes(tmp_path / name) for name in "abc")
    assert len(first) == 8
    assert first == again
    assert all(first[name] != other[name] for name in first if name != "val_ids.txt")


def test_labels_spread_over_the_scale_and_correlate_as_ratings_do() -> None:
    qualities, systems = draw_qualities(200, 0)
    ratings = np.stack([rate(song, np.random.default_rng(number)) for number, song in enumerate(qualities)])
    assert ratings.min() >= 1
    assert ratings.max() <= 5
    labels = ratings.mean(axis=1)
    assert (np.percentile(labels, 90, axis=0) - np.percentile(labels, 10, axis=0) > 2).all()
    correlations = np.corrcoef(labels.T)[np.triu_indices(5, 1)]
    assert 0.4 < correlations.min() < correlations.max() < 0.9
    assert min(Counter(systems).values()) > 20
    meant = np.array([[getattr(song, name.lower()) for name in DIMENSIONS] for song in qualities])
    assert all(spearmanr(meant[:, number], labels[:, number]).statistic > 0.95 for number in range(5))


def bands(samples: np.ndarray) -> np.ndarray:
    """Decibels in 40 bands by time, (40, frames): a crude log spectrogram."""
    mono = samples.mean(axis=1)
    frames = np.lib.stride_tricks.sliding_window_view(mono, 2048)[::2048] * np.hanning(2048)
    power = np.abs(np.fft.rfft(frames)) ** 2
    edges = np.unique(np.geomspace(2, 1024, 41).astype(int))
    return 10 * np.log10(np.add.reduceat(power, edges[:-1], axis=1).T + 1e-6)


def test_ridge_on_spectral_statistics_ranks_new_songs(songs: list[Song]) -> None:
    tables = [bands(soundfile.read(song.path)[0]) for song in songs]
    features = np.array([np.concatenate([table.mean(axis=1), table.std(axis=1)]) for table in tables])
    features = (features - features.mean(axis=0)) / features.std(axis=0)
    labels = np.array([[song.labels[name] for name in DIMENSIONS] for song in songs])
    predicted = np.zeros_like(labels)
    for fold in range(5):
        held = np.arange(len(songs)) % 5 == fold
        gram = features[~held] @ features[~held].T + 30 * np.eye((~held).sum())
        mean = labels[~held].mean(axis=0)
        predicted[held] = mean + features[held] @ features[~held].T @ np.linalg.solve(gram, labels[~held] - mean)
    ranks = [spearmanr(predicted[:, number], labels[:, number]).statistic for number in range(5)]
    assert np.mean(ranks) > 0.65
    assert min(ranks) > 0.5


def measured(**changed: float) -> np.ndarray:
    return bands(synthesise(Qualities(**{**MIDDLING, **changed}), 20.0, (0, 1)))


@pytest.mark.parametrize(
    ("dimension", "statistic"),
    [
        ("coherence", lambda table: -table.mean(axis=0).std()),
        ("musicality", lambda table: table[:8].mean() - table.mean()),
        ("memorability", lambda table: table[16:26].mean() - table.mean()),
        ("clarity", lambda table: -np.percentile(table, 5)),
        ("naturalness", lambda table: table.mean() - table[18:26].mean()),
    ],
)
def test_each_dimension_changes_the_audio(dimension: str, statistic: Callable[[np.ndarray], float]) -> None:
    poor, fair, good = (statistic(measured(**{dimension: value})) for value in (0.0, 0.5, 1.0))
    assert poor < fair < good


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SongsError, match=r"file: songs cannot be written: .*use another folder"):
        make_demo(tmp_path / "file", songs=4, seconds=1.0, seed=0)
