"""Models beside ours: functions and SongEval's head, on audio, in memory and on a store; their errors and identity."""

import itertools
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from stages.extract.audio.reading import read_audio
from stages.extract.config import ExtractConfig
from stages.extract.encoders import MultiScale, load_multiscale
from stages.head.checkpoint.ensemble import Ensemble
from stages.head.checkpoint.head import Head, HeadConfig
from stages.head.checkpoint.saved import load_head, save_head
from stages.head.model.sizes import SongEvalSizes
from stages.head.model.songeval import SongEvalHead
from stages.scoring.beside.companions import Companions
from stages.scoring.beside.functions import ScoreFunction, function_companion
from stages.scoring.beside.registry import load_companions
from stages.scoring.encoders import load_encoders
from stages.scoring.errors import ScoringError
from stages.scoring.inputs import InputSong, audio_song, store_songs
from stages.scoring.journal import resume_key
from stages.scoring.run import Scoring
from stages.scoring.scorer import Scorer
from stages.scoring.sources import AudioSource, StoreSource
from stages.songs import DIMENSIONS
from store import EmbeddingStore, StoreWriter

Samples = NDArray[np.float32]


def level(samples: Samples, sample_rate: int) -> Mapping[str, float]:
    assert (samples.dtype, samples.ndim, sample_rate) == (np.float32, 1, 24_000)
    found = {"rms": float(np.sqrt(np.mean(samples**2))), "seconds": len(samples) / sample_rate}
    samples[:] = 0  # its own copy
    return found


def picky(samples: Samples, sample_rate: int) -> Mapping[str, float]:
    if len(samples) > 3 * sample_rate:
        raise RuntimeError("too\nlong")
    return {"fine": 1}


@pytest.fixture(scope="module")
def songeval(encoders: MultiScale, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A head of SongEval's kind on layer 1 of MuQ over the whole song."""
    torch.manual_seed(0)
    sizes = SongEvalSizes(features=encoders.channels, classes=5, hidden=32, layers=1)
    config = HeadConfig(sizes=sizes, dimensions=DIMENSIONS, streams=("muq/track@1",))
    folder = tmp_path_factory.mktemp("songeval") / "hëad"
    save_head(folder, Head(SongEvalHead(sizes), config))
    return folder


def noise(seconds: int) -> Samples:
    return np.random.default_rng(seconds).normal(0, 0.1, seconds * 24_000).astype(np.float32)


def test_models_score_beside_ours_and_leave_our_scores_as_they_are(
    ensemble: Ensemble, source: AudioSource, songeval: Path
) -> None:
    songs = [noise(2), noise(3)]
    alone = list(Scorer(ensemble, source).score_batch(songs, 24_000))
    beside = load_companions([level, f"songeval={songeval}"], device="cpu")
    both = load_encoders(ensemble, beside=beside, device="cpu", precision="fp32")
    assert both.layers == (2, 1)
    scorer = Scorer(ensemble, AudioSource(both, ensemble, beside=beside))
    rows = list(scorer.score_batch(songs, 24_000))
    assert [row.scores for row in rows] == [row.scores for row in alone]
    head = load_head(songeval)
    frames = load_multiscale(preset="tiny", layers=(1,), streams=("muq/track",), device="cpu", precision="fp32")
    for row, samples in zip(rows, songs, strict=True):
        assert row.beside["songeval"] == pytest.approx(head.score(frames.encode(samples)), abs=1e-6)
        assert row.beside["level"] == level(samples.copy(), 24_000)
        assert not row.beside_errors
    assert scorer.limited(longest=5.0).score(noise(2), 24_000, name="clip-1") == rows[0]
    assert "level, songeval" in scorer._repr_html_()


def test_a_store_reads_frames_and_decodes_the_files_of_models_that_need_audio(
    song_folder: Path,
    ensemble: Ensemble,
    encoders: MultiScale,
    songeval: Path,
    make_head: Callable[..., Head],
    tmp_path: Path,
) -> None:
    two = load_multiscale(preset="tiny", layers=(1, 2), device="cpu", precision="fp32")
    spec = ExtractConfig(preset="tiny", muq="", musicfm="", layers=(1, 2), dtype="float32").spec(two)
    path = song_folder / "söng 0.wav"
    samples = read_audio(path, rate=24_000).samples
    writer = StoreWriter.open(tmp_path / "two.zarr", spec)
    for name in ("here", "gone"):
        writer.write(name, 0, two.encode(samples), attributes={})
    store = EmbeddingStore.open(tmp_path / "two.zarr")
    config = make_head(0).config
    streams = tuple(f"{name}@2" for name in encoders.streams)
    head = Head(make_head(0).model, HeadConfig(sizes=config.sizes, dimensions=DIMENSIONS, streams=streams))
    beside = load_companions([level, f"songeval={songeval}"], device="cpu")
    ours = Ensemble([head])
    scoring = Scoring(ours, StoreSource(store, ours, beside=beside))
    songs = [InputSong("here", path), InputSong("gone", tmp_path / "gone.wav")]
    here, gone = (scored.row for scored in scoring.score(songs))
    assert here.scores == pytest.approx(ours.heads[0].score(store.read("here", streams=streams)), abs=1e-5)
    assert here.beside == {"level": level(samples.copy(), 24_000), "songeval": gone.beside["songeval"]}
    assert "cannot be read: No such file" in gone.beside_errors["level"]
    with pytest.raises(ScoringError, match=r"--beside level: needs audio, and 2 of 2 songs have no file, first gone;"):
        beside.check_files(store_songs(store))
    beside.check_files(songs)


def test_missing_layers_and_averages_are_one_line(store_root: str, ensemble: Ensemble, songeval: Path) -> None:
    beside = load_companions([f"songeval={songeval}"], device="cpu")
    missing = r"--beside songeval: .* needs stream muq/track@1 .*; extract with --layers 1,2$"
    with pytest.raises(ScoringError, match=missing):
        StoreSource(EmbeddingStore.open(store_root), ensemble, beside=beside)
    with pytest.raises(ScoringError, match="expected frames that are averages of 1, found averages of 4"):
        beside.check_heads(lambda head: None, pool=4, layers=(1,))


def test_a_model_that_fails_is_a_note_on_the_song(ensemble: Ensemble, encoders: MultiScale) -> None:
    scoring = Scoring(ensemble, AudioSource(encoders, ensemble, beside=load_companions([picky, level])))
    songs = [audio_song(noise(2), 24_000), audio_song(noise(4), 24_000), InputSong("bad", None)]
    short, long, bad = (scored.row for scored in scoring.score(songs))
    assert short.beside["picky"] == {"fine": 1.0}
    assert (long.beside.keys(), long.error, bool(long.scores)) == ({"level"}, "", True)
    assert long.beside_errors == {"picky": "RuntimeError: too long"}
    assert long.notes == ["picky failed"]
    assert long.warning == "picky gave no scores: RuntimeError: too long"
    assert bad.error
    assert not bad.beside
    # The next run tries it again.
    done = {resume_key(row.song_id, row.path, row.source, row.model): row for row in (short, long)}
    assert [scored.skipped for scored in scoring.score(songs, done=done)] == [True, False, False]


@pytest.mark.parametrize(
    ("found", "error"),
    [
        ([1.0], "expected a mapping of names to numbers, found list"),
        ({}, "expected a mapping"),
        ({"a": float("nan")}, "expected a finite number for a, found nan"),
        ({"a": "loud"}, "expected a finite number for a, found 'loud'"),
        ({"a\n": 1}, "expected printable names"),
        ({1: 1}, "expected printable names of scores, found 1"),
    ],
)
def test_results_of_functions_are_checked(found: object, error: str) -> None:
    beside = Companions([function_companion(lambda samples, rate: found, name="f")])  # type: ignore[arg-type,return-value]
    scores, errors = beside.score(InputSong("a", None), np.zeros(9, np.float32), np.zeros((0, 1, 1)), ())
    assert scores == {}
    assert error in errors["f"]


def test_scores_beside_other_models_are_not_resumed(ensemble: Ensemble, encoders: MultiScale, songeval: Path) -> None:
    class Versioned:
        version = "1"

        def __call__(self, samples: Samples, sample_rate: int) -> dict[str, float]:
            return {}

    newer = Versioned()
    newer.version = "2"
    plain = Scoring(ensemble, AudioSource(encoders, ensemble)).model

    def model(wanted: ScoreFunction) -> str:
        return Scoring(ensemble, AudioSource(encoders, ensemble, beside=load_companions([wanted]))).model

    found = {plain, *map(model, (level, picky, Versioned(), newer))}
    assert len(found) == 5
    assert model(level) in found
    one, other = (load_companions([f"songeval={songeval}"]).identity for _ in range(2))
    assert one == other


def test_functions_are_named_on_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = (f"beside_module_{number}" for number in itertools.count(os.getpid()))
    name, broken = next(names), next(names)
    (tmp_path / f"{name}.py").write_text(
        "class A:\n    def one(samples, rate): return {'x': 2}\nplain = A.one\nx = 1\n"
    )
    (tmp_path / f"{broken}.py").write_text("1 / 0\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    beside = load_companions([f"{name}:plain", f"louder={name}:A.one"])
    assert beside.names == ("one", "louder")
    assert beside.score(InputSong("a", None), np.zeros(9, np.float32), np.zeros((0, 1, 1)), ())[0]["louder"] == {"x": 2}
    for wanted, error in {
        f"{name}:x": f"expected a function x in {name}, found none",
        f"{name}:nothing": f"expected a function nothing in {name}, found none",
        f"{broken}:f": f"{broken} cannot be imported: ZeroDivisionError: division by zero; run from its folder",
        f"no.{broken}:f": "cannot be imported: ModuleNotFoundError",
        "audio-box": "expected audiobox, songeval=CHECKPOINT or package.module:function",
        "songeval": "expected songeval=FILE, found no file; download https://github.com/ASLP-lab/SongEval",
    }.items():
        with pytest.raises(ScoringError, match=f"^--beside {wanted}: .*{error}"):
            load_companions([wanted])
    with pytest.raises(ScoringError, match="2 models are called one; give one another name: NAME=package"):
        load_companions([f"{name}:plain", f"{name}:A.one"])


def test_songeval_needs_its_own_kind_of_head(head_folders: Path) -> None:
    with pytest.raises(ScoringError, match="expected SongEval's head, found a head of kind hear"):
        load_companions([f"songeval={head_folders / '0'}"], device="cpu")
