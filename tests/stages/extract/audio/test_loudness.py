"""The level of a song's loudest second: known levels are exact, and quiet music is not silence."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from stages.extract.audio.loudness import LOWEST_DBFS, SILENCE_DBFS, is_silence, loudest_second
from stages.extract.audio.reading import read_audio, resample
from stages.songs.demo.layout import make_demo
from stages.songs.folder import audio_files

RATE = 24_000


def tone(seconds: float, peak: float) -> np.ndarray:
    return (peak * np.sin(2 * np.pi * 440 * np.arange(int(seconds * RATE)) / RATE)).astype(np.float32)


def test_known_levels() -> None:
    square = np.where(np.arange(3 * RATE) % 100 < 50, 1.0, -1.0).astype(np.float32)
    assert loudest_second(square) == 0.0
    assert loudest_second(tone(3, 1.0)) == -3.0
    assert loudest_second(tone(3, 1e-3)) == -63.0
    assert loudest_second(np.zeros(3 * RATE, np.float32)) == LOWEST_DBFS


@pytest.mark.parametrize("samples", [1, 1025, 2_399, 2_400, 23_999, 24_000, 24_001, 60_000])
def test_any_length_has_a_level(samples: int) -> None:
    assert loudest_second(np.zeros(samples, np.float32)) == LOWEST_DBFS
    noise = np.random.default_rng(0).standard_normal(max(samples, 1000)).astype(np.float32)
    assert loudest_second(0.1 * noise) == pytest.approx(-20, abs=0.5)


def test_a_loud_second_is_found_anywhere() -> None:
    for start in (0.0, 3.05, 58.93, 59.0):
        song = np.zeros(60 * RATE, np.float32)
        song[int(start * RATE) : int((start + 1) * RATE)] = tone(1, 1.0)
        # The search has steps of a tenth of a second: at most half a step is missed on each side.
        assert loudest_second(song) == pytest.approx(-3.0, abs=0.3)


@given(offset=st.floats(-1, 1, width=32), gain=st.floats(-60, 0))
def test_offset_is_ignored_and_gain_adds_decibels(offset: float, gain: float) -> None:
    assert is_silence(loudest_second(np.full(RATE + 7, offset, np.float32)))
    played = (tone(1.5, 1.0) * 10 ** (gain / 20)).astype(np.float32)
    assert loudest_second(played) == pytest.approx(-3.0103 + gain, abs=0.0501)
    assert loudest_second(played + np.float32(offset / 2)) == pytest.approx(-3.0 + gain, abs=0.2)


def test_quiet_music_is_not_silence_and_last_bit_noise_is(tmp_path: Path) -> None:
    make_demo(tmp_path, songs=4, seconds=4.0, seed=0)
    paths = audio_files(tmp_path)
    assert len(paths) == 4
    for path in paths:
        samples = resample(read_audio(path)).samples
        assert not is_silence(loudest_second(samples * np.float32(10 ** (-30 / 20))))
    dither = np.random.default_rng(0).integers(-1, 2, 2 * 44_100).astype(np.int16)
    soundfile.write(tmp_path / "dither.wav", dither, 44_100, subtype="PCM_16")
    assert is_silence(loudest_second(resample(read_audio(tmp_path / "dither.wav")).samples))
    assert not is_silence(None)
    assert not is_silence(SILENCE_DBFS)
