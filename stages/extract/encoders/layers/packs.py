"""Signals that one pass of the conformer encodes, and how they lie in memory.

Every part of a conformer works on single rows, except attention, which stays within a signal, and the depthwise
convolution, which reaches half its kernel to both sides. A `Batch` has equally long signals. A `Pack` has signals of
any lengths: segments, the short rest and the track, one after another.

Axes: N rows, T tokens of a signal, H heads, D channels per head, C channels.
"""

from collections.abc import Sequence
from functools import cached_property
from itertools import accumulate
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stages.common.device import upload
from stages.extract.encoders.layers.attention import attend, attend_within
from stages.extract.encoders.layers.segments import SEGMENT_TOKENS
from stages.extract.encoders.layers.shapes import shapes_of


class Part(NamedTuple):
    """The place of a signal: tokens `first` to `first + size` of its scale."""

    scale: str
    first: int
    size: int


class Batch:
    """Equally long signals: (B, T, …)."""

    def __init__(self, tokens: Sequence[Tensor] | Tensor) -> None:
        self.tokens = tokens
        self.longest = len(tokens[0])

    def join(self) -> Tensor:
        """Return new rows, (B, T, C) float32, with the signals' tokens."""
        return torch.stack([signal.float() for signal in self.tokens])

    def split(self, rows: Tensor) -> list[Tensor]:
        """Return each signal's rows, (T, C), of (B, T, C)."""
        return list(rows)

    def rotation(self, table: Tensor) -> Tensor:
        """Return each row's entries, (2, T, 1, D), of a table for more positions: the same for all signals."""
        return table[:, : self.longest]

    def attend(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Attend within each signal, (B, T, H, D) → (B, T, H, D)."""
        return attend(query.transpose(1, 2), key.transpose(1, 2), value.transpose(1, 2)).transpose(1, 2)

    def convolve(self, depthwise: nn.Conv2d, rows: Tensor) -> Tensor:
        """Convolve each signal over time, (B, T, C) → (B, T, C)."""
        # (B, T, C) is a channels-last (B, C, 1, T) image, so nothing is transposed.
        return depthwise(rows.transpose(1, 2).unsqueeze(2)).squeeze(2).transpose(1, 2)  # type: ignore[no-any-return]


class Pack:
    """Signals of any lengths in a fixed number of rows, or a multiple of it: (N, …). Its methods are those of `Batch`.

    After each signal there is a gap, as long as half the depthwise kernel; the last one fills the pack. Before each
    convolution, gaps are set to zero, which is what a signal alone would be padded with. Gaps attend to themselves.
    """

    def __init__(self, tokens: Sequence[Tensor], kernel: int) -> None:
        self.tokens = tokens
        self.gap = kernel // 2
        self.block = shapes_of(tokens[0].device).rows
        lengths = [len(signal) for signal in tokens]
        self.longest = max(lengths)
        used = sum(lengths) + self.gap * len(lengths)
        self.rows = used + -used % self.block
        self.starts = list(accumulate((length + self.gap for length in lengths[:-1]), initial=0))
        ends = [start + length for start, length in zip(self.starts, lengths, strict=True)]
        self.spans = list(zip(self.starts, ends, strict=True))
        self.gaps = list(zip(ends, [*self.starts[1:], self.rows], strict=True))

    @cached_property
    def bounds(self) -> Tensor:
        """First row of each signal and of each gap, and N: int32, on the device."""
        edges = [edge for span in self.spans for edge in span]
        return upload(torch.tensor([*edges, self.rows], dtype=torch.int32), self.tokens[0].device)

    @cached_property
    def between(self) -> Tensor:
        """The numbers of the rows in gaps: int64, on the device."""
        return upload(torch.cat([torch.arange(*gap) for gap in self.gaps]), self.tokens[0].device)

    def join(self) -> Tensor:
        """(N, C), zero in gaps."""
        rows = self.tokens[0].new_zeros(self.rows, self.tokens[0].shape[1], dtype=torch.float32)
        for (start, end), signal in zip(self.spans, self.tokens, strict=True):
            rows[start:end] = signal
        return rows

    def split(self, rows: Tensor) -> list[Tensor]:
        """(N, C) → the signals' (T, C)."""
        return [rows[start:end] for start, end in self.spans]

    def rotation(self, table: Tensor) -> Tensor:
        """(2, N, 1, D), zero in gaps."""
        rotation = table.new_zeros(2, self.rows, *table.shape[2:])
        for start, end in self.spans:
            rotation[:, start:end] = table[:, : end - start]
        return rotation

    def attend(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """(N, H, D) → (N, H, D)."""
        longest = max(self.longest, *(end - start for start, end in self.gaps))
        return attend_within(query, key, value, spans=self.spans, bounds=self.bounds, longest=longest)

    def convolve(self, depthwise: nn.Conv2d, rows: Tensor) -> Tensor:
        """(N, C) → (N, C), one convolution per block of rows, with the rows that it reaches on both sides."""
        rows = F.pad(rows.index_fill_(0, self.between, 0), (0, 0, self.gap, self.gap))
        result = rows.new_empty(self.rows, rows.shape[1])
        for first in range(0, self.rows, self.block):
            image = rows[None, first : first + self.block + 2 * self.gap].transpose(1, 2).unsqueeze(2)  # channels last
            image = F.conv2d(image, depthwise.weight, depthwise.bias, groups=depthwise.groups)
            result[first : first + self.block] = image[0, :, 0].T
        return result


# Rows are (B, T, …) for a batch and (N, …) for a pack, which the conformer writes as "…".
Signals = Batch | Pack


def passes(parts: Sequence[Part], batch: int, *, fixed: bool) -> list[list[Part]]:
    """Divide consecutive signals into passes.

    Where shapes are fixed, a pass has at most as many tokens as `batch` segments, or one longer signal; elsewhere at
    most `batch` signals of one scale and length.
    """
    found: list[list[Part]] = []
    for part in parts:
        last = found[-1] if found else []
        if fixed:
            together = bool(last) and sum(each.size for each in last) + part.size <= batch * SEGMENT_TOKENS
        else:
            together = 0 < len(last) < batch and (last[0].scale, last[0].size) == (part.scale, part.size)
        if together:
            last.append(part)
        else:
            found.append([part])
    return found
