"""Linear layers whose bits do not depend on the number of threads."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# MKL deals rows out to threads, and its kernel for a last odd row or three adds up in another order: where that row
# comes depends on the number of threads. With a multiple of four rows nothing was seen to change (1 to 64 threads).
ROWS = 16


class Linear(nn.Linear):
    """`nn.Linear`; on the CPU in float32, rows are filled up to a multiple of 16."""

    def forward(self, x: Tensor) -> Tensor:
        """(…, C in) → (…, C out)."""
        return steady_linear(x, self.weight, self.bias)


def steady_linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Do what `torch.nn.functional.linear` does, with the same bits for any number of threads."""
    rows = x.shape[:-1].numel()
    missing = -rows % ROWS
    if not missing or x.device.type != "cpu" or x.dtype != torch.float32:
        return F.linear(x, weight, bias)
    filled = F.pad(x.reshape(rows, -1), (0, 0, 0, missing))
    return F.linear(filled, weight, bias)[:rows].view(*x.shape[:-1], -1)
