"""3×3 convolutions with stride 1 by Winograd's minimal filtering (Lavin & Gray 2015, arXiv 1509.09308), on the CPU.

F(m, 3) computes m outputs of one axis with m + 2 products per pair of channels instead of 3·m: the input is transformed
by Bᵀ, the filter by G (once), the products by Aᵀ. Over both axes F(4, 3) × F(2, 3) needs a third of the products,
F(2, 3) × F(2, 3) 4/9. In float32 the first is as exact as direct convolution; in bf16 its larger coefficients lose too
much precision. It is not used on GPUs, whose own kernels are faster.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Rows = Sequence[Sequence[float]]
# m: Bᵀ (m + 2 × m + 2), G (m + 2 × 3), Aᵀ (m × m + 2).
TRANSFORMS: dict[int, tuple[Rows, Rows, Rows]] = {
    2: (
        ((1, 0, -1, 0), (0, 1, 1, 0), (0, -1, 1, 0), (0, 1, 0, -1)),
        ((1, 0, 0), (1 / 2, 1 / 2, 1 / 2), (1 / 2, -1 / 2, 1 / 2), (0, 0, 1)),
        ((1, 1, 1, 0), (0, 1, -1, -1)),
    ),
    4: (
        (
            (4, 0, -5, 0, 1, 0),
            (0, -4, -4, 1, 1, 0),
            (0, 4, -4, -1, 1, 0),
            (0, -2, -1, 2, 1, 0),
            (0, 2, -1, -2, 1, 0),
            (0, 4, 0, -5, 0, 1),
        ),
        (
            (1 / 4, 0, 0),
            (-1 / 6, -1 / 6, -1 / 6),
            (-1 / 6, 1 / 6, -1 / 6),
            (1 / 24, 1 / 12, 1 / 6),
            (1 / 24, -1 / 12, 1 / 6),
            (0, 0, 1),
        ),
        ((1, 1, 1, 1, 1, 0), (0, 1, -1, 2, -2, 0), (0, 1, 1, 4, 4, 0), (0, 1, -1, 8, -8, 1)),
    ),
}
HEIGHT = 2
# Rows of the image per step: few enough to stay in the cache.
STRIP = 8


class Winograd(nn.Module):
    """Equal to `Conv2d(channels, channels, 3, padding=1)`, with channels last.

    Axes: B signals, C channels, M mels, T time; tiles are 2 mels high and `width` long.
    """

    filters: Tensor
    bias: Tensor

    def __init__(self, convolution: nn.Conv2d, *, width: int) -> None:
        super().__init__()
        self.width = width
        weight = convolution.weight.detach()
        over_mel, over_time = (torch.tensor(TRANSFORMS[m][1], dtype=torch.float64) for m in (HEIGHT, width))
        # Transformed in float64 and rounded once: (m + 2 over time, 4 over mel, C out, C in).
        filters = torch.einsum("th,mv,oivh->tmoi", over_time, over_mel, weight.double())
        self.register_buffer("filters", filters.to(weight.dtype).contiguous(), persistent=False)
        self.register_buffer("bias", convolution.bias.detach() if convolution.bias is not None else None)

    def forward(self, image: Tensor) -> Tensor:
        """(B, C, M, T) → (B, C, M, T), both channels last in memory; M even."""
        rows = image.permute(0, 2, 3, 1)  # (B, M, T, C)
        missing = -rows.shape[2] % self.width
        padded = F.pad(rows, (0, 0, 1, 1 + missing, 1, 1))
        result = rows.new_empty(rows.shape[0], rows.shape[1], rows.shape[2] + missing, self.bias.numel())
        for top in range(0, rows.shape[1], STRIP):
            self._strip(padded[:, top : top + STRIP + 2], result[:, top : top + STRIP])
        return result[:, :, : rows.shape[2]].permute(0, 3, 1, 2)

    def _strip(self, padded: Tensor, result: Tensor) -> None:
        over_mel, over_time = TRANSFORMS[HEIGHT], TRANSFORMS[self.width]
        combined = []
        for filters, part in zip(self.filters, combine(over_time[0], _tiles(padded, 2, self.width)), strict=True):
            products = [
                F.linear(piece, matrix)
                for piece, matrix in zip(combine(over_mel[0], _tiles(part, 1, HEIGHT)), filters, strict=True)
            ]
            combined.append(combine(over_mel[2], products))
        for row, parts in enumerate(zip(*combined, strict=True)):
            for column, part in enumerate(combine(over_time[2], parts)):
                torch.add(part, self.bias, out=result[:, row::HEIGHT, column :: self.width])


def _tiles(padded: Tensor, axis: int, step: int) -> list[Tensor]:
    """Return step + 2 views: the first, second, … element of every tile along `axis`."""
    tiles = (padded.shape[axis] - 2) // step
    pick = [slice(None)] * padded.ndim
    views = []
    for first in range(step + 2):
        pick[axis] = slice(first, first + step * (tiles - 1) + 1, step)
        views.append(padded[tuple(pick)])
    return views


def combine(coefficients: Rows, images: Sequence[Tensor]) -> list[Tensor]:
    """Return the sums Σⱼ coefficients[i][j] · images[j], without multiplications by one."""
    sums = []
    for row in coefficients:
        terms = sorted((term for term in zip(row, images, strict=True) if term[0]), key=lambda term: term[0] != 1)
        (scale, first), *others = terms
        total = first if scale == 1 else first * scale
        for number, (factor, image) in enumerate(others):
            total = torch.add(total, image, alpha=factor) if number == 0 else total.add_(image, alpha=factor)
        sums.append(total)
    return sums
