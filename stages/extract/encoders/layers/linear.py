"""Linear layers whose results are bit-identical for any number of threads, and on a GPU for any number of rows."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stages.extract.encoders.layers.shapes import shapes_of

# MKL distributes rows over threads, and its kernel for one to three remaining rows adds in another order. Which rows
# remain depends on the number of threads. With a multiple of four rows no change was seen (1 to 64 threads).
ROWS = 16


class Linear(nn.Linear):
    """`nn.Linear`; see `steady_linear`."""

    def forward(self, x: Tensor) -> Tensor:
        """(…, C in) → (…, C out)."""
        return steady_linear(x, self.weight, self.bias)


def steady_linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`torch.nn.functional.linear`, with the same bits for any number of threads.

    On the CPU in float32, rows are padded to a multiple of 16. Where shapes are fixed, each product has at most
    `Shapes.rows` rows; the conformer's passes are multiples of it.
    """
    rows, shapes = x.shape[:-1].numel(), shapes_of(x.device)
    if shapes.fixed and rows > shapes.rows:
        return _in_blocks(x.reshape(rows, -1), weight, bias, shapes.rows).view(*x.shape[:-1], -1)
    missing = -rows % ROWS
    if not missing or x.device.type != "cpu" or x.dtype != torch.float32:
        return F.linear(x, weight, bias)
    padded = F.pad(x.reshape(rows, -1), (0, 0, 0, missing))
    return F.linear(padded, weight, bias)[:rows].view(*x.shape[:-1], -1)


def _in_blocks(x: Tensor, weight: Tensor, bias: Tensor | None, block: int) -> Tensor:
    """(N, C in) → (N, C out), one product per block of rows, each written in its place."""
    result = x.new_empty(len(x), len(weight))
    for rows, out in zip(x.split(block), result.split(block), strict=True):
        if bias is None:
            torch.mm(rows, weight.T, out=out)
        else:
            torch.addmm(bias, rows, weight.T, out=out)
    return result
