"""The mel spectrogram is torchaudio's."""

import pytest
import torch

from stages.extract.encoders.layers import mel


def noise(samples, seed=0):
    return torch.randn(1, samples, generator=torch.Generator().manual_seed(seed)) * 0.1


@pytest.mark.parametrize("samples", [1025, 2400, 24_000, 33_333])
def test_equals_torchaudio(samples):
    from torchaudio.transforms import AmplitudeToDB, MelSpectrogram

    published = AmplitudeToDB()(
        MelSpectrogram(sample_rate=24_000, n_fft=2048, hop_length=240, n_mels=128)(noise(samples))
    )
    ours = mel.LogMel()(noise(samples))
    assert ours.shape == (1, 128, samples // 240)
    torch.testing.assert_close(ours, published[..., :-1], atol=2e-4, rtol=0)


def test_pieces_do_not_change_the_result(monkeypatch):
    whole = mel.LogMel()(noise(48_000))
    monkeypatch.setattr(mel, "PIECE", 7)
    torch.testing.assert_close(mel.LogMel()(noise(48_000)), whole, atol=2e-4, rtol=0)


def test_silence_is_the_floor():
    assert (mel.LogMel()(torch.zeros(1, 5000)) == -100.0).all()
