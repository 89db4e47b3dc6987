"""Audio files → mono float32 at 24 kHz."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from stages.extract.audio.reading import SAMPLE_RATE, Waveform, probe_seconds, read_audio, resample


def tone(rate: int, *, frequency: float = 440.0, seconds: float = 0.5) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * frequency * np.arange(round(rate * seconds)) / rate)).astype(np.float32)


@pytest.mark.parametrize(
    ("name", "subtype", "tolerance"),
    [
        ("a.wav", "PCM_U8", 1e-2),
        ("a.wav", "PCM_16", 1e-4),
        ("a.wav", "PCM_24", 1e-6),
        ("a.wav", "PCM_32", 1e-6),
        ("a.wav", "FLOAT", 0.0),
        ("a.wav", "DOUBLE", 0.0),
        ("a.wav", "MS_ADPCM", 2e-2),
        ("a.flac", "PCM_16", 1e-4),
        ("a.aiff", "PCM_16", 1e-4),
        ("a.mp3", "MPEG_LAYER_III", 5e-2),
        ("a.ogg", "VORBIS", 5e-2),
        ("a.opus", "OPUS", 5e-2),
    ],
)
def test_formats(tmp_path: Path, name: str, subtype: str, tolerance: float) -> None:
    path = tmp_path / name
    kind = "OGG" if name.endswith("opus") else None
    soundfile.write(path, tone(48_000), 48_000, subtype=subtype, format=kind)
    waveform = read_audio(path)
    assert waveform.samples.dtype == np.float32
    assert waveform.rate == 48_000
    assert probe_seconds(path) == pytest.approx(waveform.seconds, abs=0.1)
    middle = slice(6_000, 18_000)
    assert np.abs(waveform.samples[middle] - tone(48_000)[middle]).max() <= tolerance


@pytest.mark.parametrize("channels", [1, 2, 6])
def test_channels_are_averaged(tmp_path: Path, channels: int) -> None:
    samples = np.random.default_rng(0).uniform(-1, 1, (70_000, channels)).astype(np.float32)
    soundfile.write(tmp_path / "a.wav", samples, 44_100, subtype="FLOAT")
    np.testing.assert_allclose(read_audio(tmp_path / "a.wav").samples, samples.mean(axis=1), atol=1e-7)


def test_blocks_join_without_a_seam(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stages.extract.audio.decoder.BLOCK_SAMPLES", 1_000)
    soundfile.write(tmp_path / "a.wav", tone(44_100), 44_100, subtype="FLOAT")
    assert np.array_equal(read_audio(tmp_path / "a.wav").samples, tone(44_100))


@pytest.mark.parametrize("rate", [8_000, 11_024, 16_000, 32_000, 44_100, 48_000, 192_000])
def test_resampling_keeps_the_tone(rate: int) -> None:
    resampled = resample(Waveform(tone(rate), rate))
    expected = tone(SAMPLE_RATE)
    assert resampled.rate == SAMPLE_RATE
    assert resampled.samples.dtype == np.float32
    assert len(resampled.samples) == pytest.approx(len(expected), abs=2)
    middle = slice(2_000, 10_000)
    np.testing.assert_allclose(resampled.samples[middle], expected[middle], atol=2e-4)


def test_resampling_removes_frequencies_above_12_khz() -> None:
    resampled = resample(Waveform(tone(48_000, frequency=15_000.0), 48_000))
    assert np.abs(resampled.samples[1_000:-1_000]).max() < 1e-4


def test_the_same_rate_is_the_same_waveform() -> None:
    waveform = Waveform(tone(SAMPLE_RATE), SAMPLE_RATE)
    assert resample(waveform) is waveform
