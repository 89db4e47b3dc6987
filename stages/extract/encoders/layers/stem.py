"""The convolutional stem: mel spectrogram → 25 tokens per second.

Two residual blocks, ReLU(conv(ReLU(conv₂(x))) + conv₂′(x)), all 3×3, conv₂ and conv₂′ with stride 2, with folded batch
norms; then channels and mels are flattened and projected (`Conv2dSubsampling` of the published models).

Token t depends only on the mel frames 4t − 9 … 4t + 9. So a long signal is computed in chunks with a halo, and the
tokens are those of the whole signal. Where shapes are fixed, all chunks have one size: behind the signal's end, every
image is set to zero, which is what the next convolution's own padding would be.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stages.extract.encoders.layers.linear import Linear
from stages.extract.encoders.layers.shapes import shapes_of
from stages.extract.encoders.layers.winograd import Winograd

FRAMES_PER_TOKEN = 4
# Tokens whose receptive field (±9 mel frames) crosses a cut: three after it, at most three before it.
HALO = 3


class ResidualBlock(nn.Module):
    """Halve height and width. `entry` has the strided filters and those of the shortcut, computed in one pass."""

    def __init__(self, channels_in: int, channels: int) -> None:
        super().__init__()
        self.entry = nn.Conv2d(channels_in, 2 * channels, 3, stride=2, padding=1)
        self.body: nn.Conv2d | Winograd = nn.Conv2d(channels, channels, 3, padding=1)

    def use_winograd(self) -> None:
        """Replace the second convolution by a faster form, with the largest tile that keeps the precision."""
        assert isinstance(self.body, nn.Conv2d)
        self.body = Winograd(self.body, width=4 if self.body.weight.dtype == torch.float32 else 2)

    def forward(self, image: Tensor, length: int) -> Tensor:
        """(B, channels_in, M, F) → (B, channels, ⌈M / 2⌉, ⌈F / 2⌉), which is zero from ⌈length / 2⌉ on."""
        straight, shortcut = self.entry(image).chunk(2, dim=1)
        straight = straight.relu()
        straight[..., -(-length // 2) :] = 0
        result: Tensor = self.body(straight)
        result = result.add_(shortcut).relu_()
        result[..., -(-length // 2) :] = 0
        return result


class Stem(nn.Module):
    """Mel spectrogram → tokens. Axes: B signals, M mels, F mel frames, T = ⌈F / 4⌉ tokens, C width."""

    def __init__(self, *, channels: int, mels: int, width: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([ResidualBlock(1, channels), ResidualBlock(channels, channels)])
        self.linear = Linear(channels * mels // 4, width)

    def tuned(self) -> "Stem":
        """Choose each convolution's fastest form for the device and precision of the weights."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                module.weight.data = module.weight.data.contiguous(memory_format=torch.channels_last)
        if self.linear.weight.device.type == "cpu":
            for block in self.blocks:
                assert isinstance(block, ResidualBlock)
                block.use_winograd()
        return self

    def forward(self, mel: Tensor, frames: int | None = None) -> Tensor:
        """(B, M, F), normalised → (B, T, C). If only the first `frames` are the signal, the others must be zero."""
        image, length = _image(mel), frames or mel.shape[-1]
        for block in self.blocks:
            image = block(image, length)  # (B, channels, M / 2, ⌈F / 2⌉), then (B, channels, M / 4, T)
            length = -(-length // 2)
        # Mel-major, channels last: the convolutions' memory order (the weights were permuted to match).
        tokens: Tensor = self.linear(image.permute(0, 3, 2, 1).flatten(2))
        return tokens

    def long(self, mel: Tensor) -> Tensor:
        """Compute (1, M, F) → (1, T, C) in chunks, with the same values as `forward`."""
        frames, shapes = mel.shape[-1], shapes_of(mel.device)
        count, chunk = -(-frames // FRAMES_PER_TOKEN), shapes.chunk
        parts = []
        for first in range(0, count, chunk):
            left, right = max(0, first - HALO), min(count, first + chunk + HALO)
            part = mel[..., left * FRAMES_PER_TOKEN : min(frames, right * FRAMES_PER_TOKEN)]
            length = part.shape[-1]
            if shapes.fixed:
                part = F.pad(part, (0, (chunk + 2 * HALO) * FRAMES_PER_TOKEN - length))
            tokens = self(part, length)
            parts.append(tokens[:, first - left : min(count, first + chunk) - left])
        return torch.cat(parts, dim=1) if len(parts) > 1 else parts[0]

    def windows(self, mel: Tensor) -> Tensor:
        """Compute any number of equally short signals, (B, M, F) → (B, T, C)."""
        shapes, count = shapes_of(mel.device), len(mel)
        if not shapes.fixed:
            return self(mel)  # type: ignore[no-any-return]
        padded = F.pad(mel, (0, 0, 0, 0, 0, -count % shapes.edges))
        return torch.cat([self(part) for part in padded.split(shapes.edges)])[:count]


def _image(mel: Tensor) -> Tensor:
    """(B, M, F) → (B, 1, M, F), channels last."""
    if shapes_of(mel.device).fixed:
        return mel.contiguous().unsqueeze(-1).permute(0, 3, 1, 2)
    # Strides of one channel are ambiguous: a contiguous image stays as it is. On a CPU this changes bits, not speed.
    return mel.unsqueeze(1).contiguous(memory_format=torch.channels_last)
