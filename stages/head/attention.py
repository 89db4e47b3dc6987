"""Self-attention inside each song, over windows that lie packed one song after the other."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class SelfAttention(nn.Module):
    """Multi-head self-attention without dropout; songs never see each other, and no padding exists to be masked.

    Parameters
    ----------
    width, heads
        Channels of a window, and heads that share them.
    """

    def __init__(self, *, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.inputs = nn.Linear(width, 3 * width)
        self.outputs = nn.Linear(width, width)
        nn.init.xavier_uniform_(self.inputs.weight)
        nn.init.zeros_(self.inputs.bias)
        nn.init.zeros_(self.outputs.bias)

    def forward(self, windows: Tensor, lengths: Sequence[int]) -> Tensor:
        """Windows (W, width), of which `lengths` tells how many each song has → (W, width)."""
        joint = self.inputs(windows).view(len(windows), 3, self.heads, -1)  # (W, 3, heads, channels)
        if len(set(lengths)) == 1:
            return self.outputs(_attend(joint.view(len(lengths), lengths[0], *joint.shape[1:])).flatten(0, 1))  # type: ignore[no-any-return]
        songs = [_attend(song.unsqueeze(0)).squeeze(0) for song in torch.split(joint, list(lengths))]
        return self.outputs(torch.cat(songs))  # type: ignore[no-any-return]


def _attend(joint: Tensor) -> Tensor:
    """Query, key and value (B, W, 3, heads, channels) → (B, W, heads · channels)."""
    query, key, value = joint.permute(2, 0, 3, 1, 4)  # each (B, heads, W, channels)
    return F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
