"""Rotary position embedding (RoFormer, arXiv 2104.09864), with halves rotated against each other."""

import torch
from torch import Tensor


class Rotary:
    """Cosines and sines on a device, made once and again when a signal is longer: 67 MB after an hour of audio."""

    def __init__(self, head_size: int) -> None:
        self.head_size = head_size
        self._table: Tensor | None = None

    def table(self, tokens: int, device: torch.device) -> Tensor:
        """Return cosines and sines, (2, T, 1, D) float32."""
        if self._table is None or self._table.shape[1] < tokens or self._table.device != device:
            self._table = rotary(1 << (tokens - 1).bit_length(), self.head_size, device)
        return self._table[:, :tokens]


def rotary(tokens: int, head_size: int, device: torch.device, base: float = 10_000.0) -> Tensor:
    """Return cosines and sines (2, T, 1, D) float32 for T positions. They are computed on the CPU."""
    exponent = torch.arange(0, head_size, 2, dtype=torch.int64).float() / head_size
    angles = torch.outer(torch.arange(tokens).float(), 1.0 / (base**exponent)).repeat(1, 2)
    return torch.stack((angles.cos(), angles.sin())).unsqueeze(2).to(device)


def rotate(x: Tensor, rotation: Tensor) -> Tensor:
    """Rotate (…, T, H, D) by `rotation` (2, T, 1, D): first · cos − second · sin, and second · cos + first · sin."""
    (first, second), result, half = x.chunk(2, dim=-1), x * rotation[0], x.shape[-1] // 2
    result[..., :half] -= second * rotation[1, ..., :half]
    result[..., half:] += first * rotation[1, ..., half:]
    return result
