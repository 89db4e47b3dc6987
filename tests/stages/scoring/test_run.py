"""Songs → rows: from audio and a store, in batches and alone, over time, resumed, and with errors."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from stages.extract.audio.reading import read_audio
from stages.extract.encoders import MultiScale, load_multiscale
from stages.head.checkpoint.ensemble import Ensemble, load_ensemble
from stages.head.checkpoint.head import Head
from stages.head.checkpoint.novelty import fit_novelty, song_vector
from stages.head.errors import HeadError
from stages.scoring.encoders import load_encoders
from stages.scoring.errors import ScoringError
from stages.scoring.inputs import expand_inputs, store_songs
from stages.scoring.journal import resume_key
from stages.scoring.over_time import Windows, window_starts
from stages.scoring.run import Scoring
from stages.scoring.scorer import Scorer
from stages.scoring.sources import AudioSource, StoreSource, outline
from stages.songs import DIMENSIONS
from store import EmbeddingStore


def test_every_song_is_a_row_and_a_bad_file_is_a_row_with_an_error(
    song_folder: Path, ensemble: Ensemble, source: AudioSource
) -> None:
    songs = expand_inputs([str(song_folder), str(song_folder / "gone.wav")])
    rows = [scored.row for scored in Scoring(ensemble, source).score(songs)]
    assert [(row.song_id, row.path) for row in rows] == [(song.song_id, str(song.path)) for song in songs]
    assert "below/söng 3" in [row.song_id for row in rows]
    failed = {row.song_id: row.error for row in rows if row.error}
    assert set(failed) == {"bad", "gone"}
    assert failed["gone"].startswith("cannot be read: No such file")
    for row in rows:
        if not row.error:
            waveform = read_audio(Path(row.path))
            assert row.scores == pytest.approx(ensemble.heads[0].score(source.frames(waveform.samples)), abs=1e-6)
            assert row.seconds == waveform.seconds
            assert row.spread == {}
            assert row.novelty is None


def test_a_store_gives_the_same_scores_without_audio(
    song_folder: Path, store_root: str, ensemble: Ensemble, source: AudioSource
) -> None:
    paths = sorted(song_folder.rglob("*.wav"))
    audio = {
        scored.row.song_id: scored.row
        for scored in Scoring(ensemble, source).score(expand_inputs(list(map(str, paths))))
    }
    store = EmbeddingStore.open(store_root)
    scoring = Scoring(ensemble, StoreSource(store, ensemble), windows=Windows(1.0, 0.5))
    rows = [scored.row for scored in scoring.score(store_songs(store, only=[*audio, "short", "none"]))]
    assert [row.song_id for row in rows] == [*audio, "short", "none"]
    for row in rows[:-2]:
        assert row.scores == pytest.approx(audio[row.song_id].scores, abs=1e-5)
        assert row.source == audio[row.song_id].source
        assert row.path == ""
        assert row.curve is not None
    assert "expected 3 frames or more, found 2" in rows[-2].error
    assert rows[-1].error == "no song 'none' in the store; with --store, name song ids"


def test_a_batch_gives_the_same_scores_as_single_songs(store_root: str, ensemble: Ensemble) -> None:
    store = EmbeddingStore.open(store_root)
    source = StoreSource(store, ensemble)
    together = [scored.row.scores for scored in Scoring(ensemble, source).score(store_songs(store))]
    source.batch_frames = 1
    alone = [scored.row.scores for scored in Scoring(ensemble, source).score(store_songs(store))]
    for one, other in zip(together, alone, strict=True):
        assert one == pytest.approx(other, abs=1e-5)


def test_scores_over_time_need_one_pass_of_the_encoders(
    song_folder: Path, ensemble: Ensemble, encoders: MultiScale, monkeypatch: pytest.MonkeyPatch
) -> None:
    passes = []
    encode = encoders.encode
    monkeypatch.setattr(encoders, "encode", lambda samples: passes.append(len(samples)) or encode(samples))
    source = AudioSource(encoders, ensemble)
    path = song_folder / "below" / "söng 3.wav"
    (scored,) = Scoring(ensemble, source, windows=Windows(2.0, 0.5)).score(expand_inputs([str(path)]))
    assert passes == [5 * 24_000]
    curve, frames = scored.row.curve, source.frames(read_audio(path).samples)
    assert curve is not None
    # A hop of 0.5 s is 12 frames.
    assert curve.seconds == pytest.approx([1 + 0.48 * number for number in range(7)])
    assert list(curve.scores) == list(DIMENSIONS)
    third = ensemble.heads[0].score(frames[:, 24:74])
    assert {name: values[2] for name, values in curve.scores.items()} == pytest.approx(third, abs=1e-6)
    assert scored.outline is not None
    assert scored.outline.shape == (2, 1200)


def test_window_starts() -> None:
    assert window_starts(100, window=50, hop=20) == [0, 20, 40]
    assert window_starts(100, window=50, hop=25) == [0, 25, 50]
    assert window_starts(100, window=40, hop=35) == [0, 35, 60]
    assert window_starts(30, window=50, hop=20) == [0]


def test_windows_are_checked(ensemble: Ensemble, source: AudioSource) -> None:
    with pytest.raises(ScoringError, match="expected finite seconds above 0, found 0 "):
        Windows(0.0, 1.0)
    for wrong in (float("inf"), float("nan")):
        with pytest.raises(ScoringError, match="expected finite seconds above 0, found "):
            Windows(10.0, wrong)
    with pytest.raises(
        ScoringError,
        match=r"windows: expected 3 frames or more for the head, found 2 in 0.1 s",
    ):
        Scoring(ensemble, source, windows=Windows(0.1, 1.0))


def test_outline_holds_every_extreme() -> None:
    samples = np.zeros(1000, np.float32)
    samples[[3, 500, 999]] = (0.5, -0.25, 1.0)
    drawn = outline(samples, 10)
    assert drawn.shape == (2, 10)
    assert (drawn[1, 0], drawn[0, 5], drawn[1, 9]) == (0.5, -0.25, 1.0)
    assert outline(samples[:3], 10).shape == (2, 3)


def test_songs_of_an_earlier_run_are_not_loaded_again(
    song_folder: Path, ensemble: Ensemble, encoders: MultiScale, make_head: Callable[..., Head]
) -> None:
    source = AudioSource(encoders, ensemble)
    scoring = Scoring(ensemble, source)
    songs = expand_inputs([f"{song_folder}/*.wav"])
    rows = [scored.row for scored in scoring.score(songs)]
    done = {resume_key(row.song_id, row.path, row.source, row.model): row for row in rows[:2]}
    again = list(scoring.score(songs, done=done))
    assert [scored.skipped for scored in again] == [True, True, False]
    assert [scored.row for scored in again] == rows
    # Other heads or windows give other rows.
    for other in (Scoring(Ensemble([make_head(1)]), source), Scoring(ensemble, source, windows=Windows(1.0, 1.0))):
        assert other.model != scoring.model
        assert not any(scored.skipped for scored in other.score(songs, done=done))
    assert Scoring(Ensemble([make_head(0)]), source).model == scoring.model


def test_several_heads_give_a_mean_and_its_spread(
    head_folders: Path, song_folder: Path, encoders: MultiScale, make_head: Callable[..., Head]
) -> None:
    ensemble = load_ensemble([head_folders], device="cpu")
    assert len(ensemble.heads) == 3
    source = AudioSource(encoders, ensemble)
    (scored,) = Scoring(ensemble, source).score(expand_inputs([f"{song_folder}/söng 0.wav"]))
    frames = source.frames(read_audio(song_folder / "söng 0.wav").samples)
    each = np.array([list(make_head(seed).score(frames).values()) for seed in range(3)])
    assert list(scored.row.scores.values()) == pytest.approx(each.mean(0).tolist(), abs=1e-6)
    assert list(scored.row.spread.values()) == pytest.approx(each.std(0, ddof=1).tolist(), abs=1e-6)


def test_heads_with_different_streams_share_one_pass(make_head: Callable[..., Head], encoders: MultiScale) -> None:
    muq = make_head(1, streams=("muq/track",))
    both = make_head(2, streams=("musicfm/segment", "muq/track"))
    ensemble = Ensemble([muq, both])
    assert ensemble.streams == ("muq/track@2", "musicfm/segment@2")
    loaded = load_encoders(ensemble, device="cpu", precision="fp32")
    assert loaded.streams == ("muq/track", "musicfm/segment")
    samples = np.random.default_rng(0).standard_normal(48_000).astype(np.float32) * 0.1
    scores = ensemble.score([AudioSource(loaded, ensemble).frames(samples)]).mean[0]
    frames = dict(zip(encoders.streams, encoders.encode(samples), strict=True))
    alone = [list(head.score(np.stack([frames[name] for name in head.streams])).values()) for head in (muq, both)]
    assert scores.tolist() == pytest.approx(np.mean(alone, axis=0).tolist(), abs=1e-5)


def test_heads_that_cannot_score_together(make_head: Callable[..., Head]) -> None:
    with pytest.raises(HeadError, match="agree on dimensions"):
        Ensemble([make_head(0), make_head(1, dimensions=("Musicality",))])
    with pytest.raises(HeadError, match="at least one head"):
        Ensemble([])


def test_the_wrong_encoders_are_refused(make_head: Callable[..., Head]) -> None:
    other = load_multiscale(preset="tiny", layers=(3,), device="cpu", precision="fp32")
    with pytest.raises(HeadError, match=r"needs stream musicfm/segment@2 .*found musicfm/segment@3"):
        AudioSource(other, Ensemble([make_head(0)]))


def test_songs_unlike_the_training_songs_carry_a_warning(
    store_root: str, song_folder: Path, make_head: Callable[..., Head], encoders: MultiScale
) -> None:
    store = EmbeddingStore.open(store_root)
    songs = [song for song in store.songs if song != "short"]
    generator = np.random.default_rng(0)
    training = np.stack([song_vector(store.read(song)) for song in songs * 10])
    training *= 1 + 0.05 * generator.standard_normal(training.shape).astype(np.float32)
    ensemble = Ensemble([make_head(0)], [fit_novelty(training)])
    scoring = Scoring(ensemble, StoreSource(store, ensemble))
    rows = {scored.row.song_id: scored.row for scored in scoring.score(store_songs(store, only=songs))}
    assert all(row.novelty is not None and row.warning == "" for row in rows.values())
    silence = np.zeros(48_000, np.float32)
    novelty = ensemble.novelty(AudioSource(encoders, ensemble).frames(silence))
    assert novelty is not None
    assert novelty > 1


def test_scoring_from_python(head_folders: Path, song_folder: Path) -> None:
    from stages.scoring.scorer import Scorer as Exported

    assert Exported is Scorer
    scorer = Scorer.load(head_folders / "0", device="cpu", precision="fp32")
    scores = scorer.score(song_folder / "söng 1.wav").scores
    assert list(scores) == list(DIMENSIONS)
    assert all(1 < score < 5 for score in scores.values())
    with pytest.raises(ScoringError, match="FFmpeg cannot decode it as audio"):
        scorer.score(song_folder / "bad.mp3")
    assert [bool(row.error) for row in scorer.score_batch([song_folder / "bad.mp3", song_folder / "söng 1.wav"])] == [
        True,
        False,
    ]
