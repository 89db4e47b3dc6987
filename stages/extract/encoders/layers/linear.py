"""Linear layers whose results are bit-identical for any number of threads."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# MKL distributes rows over threads, and its kernel for one to three remaining rows adds in another order. Which rows
# remain depends on the number of threads. With a multiple of four rows no change was seen (1 to 64 threads).
ROWS = 16


class Linear(nn.Linear):
    """`nn.Linear`; on the CPU in float32, rows are padded to a multiple of 16."""

    def forward(self, x: Tensor) -> Tensor:
        """(…, C in) → (…, C out)."""
        return steady_linear(x, self.weight, self.bias)


def steady_linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`torch.nn.functional.linear`, with the same bits for any number of threads."""
    rows = x.shape[:-1].numel()
    missing = -rows % ROWS
    if not missing or x.device.type != "cpu" or x.dtype != torch.float32:
        return F.linear(x, weight, bias)
    padded = F.pad(x.reshape(rows, -1), (0, 0, 0, missing))
    return F.linear(padded, weight, bias)[:rows].view(*x.shape[:-1], -1)
