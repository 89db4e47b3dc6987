"""Waveform → mel spectrogram in decibels, the input of both encoders before normalisation.

The published models use torchaudio's `MelSpectrogram` and `AmplitudeToDB`: n_fft 2048, hop 240, 128 HTK mels, power 2,
centred with reflection, floor 1e-10, no top-dB, last frame dropped. This module computes the same in blocks of frames,
so that the spectrum of an hour of audio is never in memory at once.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stages.extract.encoders.layers.linear import steady_linear
from stages.extract.encoders.layers.shapes import shapes_of

SAMPLE_RATE = 24_000
HOP = 240
FFT = 2048
MELS = 128
FLOOR = 1e-10
# Samples: reflection needs more than half an FFT window.
SHORTEST = FFT // 2 + 1
# Frames per piece. Where shapes are fixed, pieces are padded to it, but not the windows at cuts between segments, which
# all have this many frames; padding shorter signals would not pay.
PIECE, WINDOW = 3_000, 33


class LogMel(nn.Module):
    """Mel spectrogram in dB, 100 frames per second, always in float32."""

    window: Tensor
    filters: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("window", torch.hann_window(FFT), persistent=False)
        self.register_buffer("filters", mel_filters(), persistent=False)

    def forward(self, samples: Tensor) -> Tensor:
        """Compute the spectrograms of whole signals, with reflection at both ends.

        Parameters
        ----------
        samples
            (B, n) float32 at 24 kHz, n ≥ 1,025.

        Returns
        -------
        Tensor
            (B, 128, ⌊n / 240⌋) float32, dB.
        """
        frames = samples.shape[-1] // HOP
        padded = F.pad(samples, (FFT // 2, FFT // 2), mode="reflect")
        # Zeros after the reflection reach only frames that are dropped here.
        missing = -frames % PIECE if shapes_of(samples.device).fixed and frames > WINDOW else 0
        padded = F.pad(padded, (0, missing * HOP)) if missing else padded
        pieces = [
            self._piece(padded[:, first * HOP : (min(first + PIECE, frames + missing) - 1) * HOP + FFT])
            for first in range(0, frames, PIECE)
        ]
        return torch.cat(pieces, dim=-1)[..., :frames] if len(pieces) > 1 or missing else pieces[0]

    def _piece(self, padded: Tensor) -> Tensor:
        spectrum = torch.stft(padded, FFT, HOP, window=self.window, center=False, return_complex=True)
        power = torch.view_as_real(spectrum.transpose(1, 2)).square().sum(-1)  # (B, frames, 1025)
        mel = steady_linear(power, self.filters)
        return mel.clamp_(min=FLOOR).log10_().mul_(10.0).transpose(1, 2)


def mel_filters() -> Tensor:
    """Return the (128, 1025) float32 HTK mel filter bank, 0 to 12 kHz, not normalised."""
    from torchaudio.functional import melscale_fbanks

    bank: Tensor = melscale_fbanks(FFT // 2 + 1, 0.0, SAMPLE_RATE / 2, MELS, SAMPLE_RATE)
    return bank.T.contiguous()
