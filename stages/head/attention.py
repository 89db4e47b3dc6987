"""Self-attention inside each song, over windows that lie packed one song after the other."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint


class SelfAttention(nn.Module):
    """Multi-head self-attention; songs never see each other, and no padding exists to be masked.

    Parameters
    ----------
    width, heads
        Channels of a window, and heads that share them.
    dropout
        Probability of dropping a weight, while training.
    """

    def __init__(self, *, width: int, heads: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.inputs = nn.Linear(width, 3 * width)
        self.outputs = nn.Linear(width, width)
        nn.init.xavier_uniform_(self.inputs.weight)
        nn.init.zeros_(self.inputs.bias)
        nn.init.zeros_(self.outputs.bias)

    def forward(self, windows: Tensor, lengths: Sequence[int]) -> Tensor:
        """Windows (W, width), of which `lengths` tells how many each song has → (W, width)."""
        joint = self.inputs(windows).view(len(windows), 3, self.heads, -1)  # (W, 3, heads, channels)
        dropping = self.training and self.dropout > 0
        if len(set(lengths)) == 1 and not dropping:
            return self.outputs(_attend(joint.view(len(lengths), lengths[0], *joint.shape[1:])).flatten(0, 1))  # type: ignore[no-any-return]
        attend = self._attend_dropping if dropping else _attend
        songs = [attend(song.unsqueeze(0)).squeeze(0) for song in torch.split(joint, list(lengths))]
        return self.outputs(torch.cat(songs))  # type: ignore[no-any-return]

    def _attend_dropping(self, joint: Tensor) -> Tensor:
        # With dropout a CPU holds all weights of a song, gigabytes for a long one: made again in the backward pass,
        # they are held for one song at a time.
        return checkpoint(_attend, joint, self.dropout, use_reentrant=False)  # type: ignore[no-any-return]


def _attend(joint: Tensor, dropout: float = 0.0) -> Tensor:
    """Query, key and value (B, W, 3, heads, channels) → (B, W, heads · channels)."""
    query, key, value = joint.permute(2, 0, 3, 1, 4)  # each (B, heads, W, channels)
    return F.scaled_dot_product_attention(query, key, value, dropout_p=dropout).transpose(1, 2).flatten(2)
