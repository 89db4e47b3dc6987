"""The convolutional stem: mel spectrogram → 25 tokens per second.

Two residual blocks, ReLU(conv(ReLU(conv₂(x))) + conv₂′(x)), all 3×3, conv₂ and conv₂′ with stride 2, with folded batch
norms; then channels and mels are flattened and projected (`Conv2dSubsampling` of the published models).

Token t depends only on the mel frames 4t − 9 … 4t + 9. So a long signal is computed in chunks with a halo, and the
tokens are those of the whole signal.
"""

import torch
from torch import Tensor, nn

from stages.extract.encoders.layers.linear import Linear
from stages.extract.encoders.layers.winograd import Winograd

FRAMES_PER_TOKEN = 4
# Tokens whose receptive field (±9 mel frames) crosses a cut: three after it, at most three before it.
HALO = 3
# Tokens per chunk: few enough to stay in a CPU's cache, enough to fill a GPU.
CHUNK = {"cpu": 186, "cuda": 750}


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

    def forward(self, image: Tensor) -> Tensor:
        """(B, channels_in, M, F) → (B, channels, ⌈M / 2⌉, ⌈F / 2⌉)."""
        straight, shortcut = self.entry(image).chunk(2, dim=1)
        result: Tensor = self.body(straight.relu())
        return result.add_(shortcut).relu_()


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

    def forward(self, mel: Tensor) -> Tensor:
        """(B, M, F), normalised → (B, T, C)."""
        image = mel.unsqueeze(1).contiguous(memory_format=torch.channels_last)
        for block in self.blocks:
            image = block(image)  # (B, channels, M / 2, ⌈F / 2⌉), then (B, channels, M / 4, T)
        # Mel-major, channels last: the convolutions' memory order (the weights were permuted to match).
        tokens: Tensor = self.linear(image.permute(0, 3, 2, 1).flatten(2))
        return tokens

    def long(self, mel: Tensor) -> Tensor:
        """Compute (1, M, F) → (1, T, C) in chunks, with the same values as `forward`."""
        frames, chunk = mel.shape[-1], CHUNK.get(mel.device.type, 186)
        count = -(-frames // FRAMES_PER_TOKEN)
        parts = []
        for first in range(0, count, chunk):
            left, right = max(0, first - HALO), min(count, first + chunk + HALO)
            tokens = self(mel[..., left * FRAMES_PER_TOKEN : min(frames, right * FRAMES_PER_TOKEN)])
            parts.append(tokens[:, first - left : first - left + chunk])
        return torch.cat(parts, dim=1) if len(parts) > 1 else parts[0]
