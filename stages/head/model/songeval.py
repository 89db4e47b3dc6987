"""SongEval's own head, the challenge's baseline (arXiv 2505.10793): MuQ's layer 6 of a whole song in, scores out.

    frames (T, F) → feed-forward → f → attention × layers → a;  concat(mean over time of a, max over time of f)
                  → linear → tanh · 2 + 3

The attention layers have neither residuals nor norms, as published.
"""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from stages.head.errors import HeadError
from stages.head.model.attention import TORCH_NAMES, SelfAttention
from stages.head.model.packed import PackedModel, Songs, compute_type
from stages.head.model.sizes import SongEvalSizes

# Our name: published name, for tensors outside the attention layers.
_OTHERS = {
    f"{ours}.{kind}": f"{theirs}.{kind}"
    for ours, theirs in {"feed_forward.0": "ffd.0", "feed_forward.2": "ffd.2", "output": "fc"}.items()
    for kind in ("weight", "bias")
}


class SongEvalHead(PackedModel):
    """Score songs from MuQ's frames.

    Parameters
    ----------
    sizes
        See `SongEvalSizes`.
    """

    def __init__(self, sizes: SongEvalSizes) -> None:
        super().__init__(sizes)
        width = sizes.features
        self.feed_forward = nn.Sequential(nn.Linear(width, sizes.hidden), nn.ReLU(), nn.Linear(sizes.hidden, width))
        self.attention = nn.ModuleList(
            SelfAttention(width=width, heads=sizes.heads, dropout=sizes.dropout) for _ in range(sizes.layers)
        )
        self.dropout = nn.Dropout(sizes.dropout)
        self.output = nn.Linear(2 * width, sizes.classes)

    def pool(self, frames: Tensor, lengths: Sequence[int]) -> Tensor:
        """Each song as one vector (B, 2 · F), float32; see `PackedModel.pool`."""
        inner = self.feed_forward(frames.to(compute_type(frames.device, self.output.weight)))
        attended, songs = inner, Songs(lengths, inner.device)
        for layer in self.attention:
            attended = layer(attended, songs)
        sums = [song.sum(-2) for song in songs.batches(attended.float())]
        most = [song.amax(-2) for song in songs.batches(inner.float(), fill=-math.inf)]
        return torch.cat([torch.cat(sums) / songs.counts, torch.cat(most)], dim=1)

    def rate(self, pooled: Tensor) -> Tensor:
        """Pooled vectors (B, 2 · F) → scores (B, D), float32, each between 1 and 5."""
        return super().rate(self.dropout(pooled))


def is_songeval(state: Mapping[str, Tensor]) -> bool:
    """Whether these tensors are named as in SongEval's published head."""
    return "ffd.0.weight" in state and "fc.weight" in state


def published_songeval_sizes(state: Mapping[str, Tensor]) -> SongEvalSizes:
    """Read the sizes from the published tensors' shapes, which do not show the 8 heads.

    Raises
    ------
    HeadError
        A tensor that shows a size is missing.
    """
    hidden, features = _named(state, "ffd.0.weight").shape
    layers = sum(name.endswith(".in_proj_weight") for name in state)
    return SongEvalSizes(features=features, classes=_named(state, "fc.weight").shape[0], hidden=hidden, layers=layers)


def from_published_songeval(state: Mapping[str, Tensor], sizes: SongEvalSizes) -> dict[str, Tensor]:
    """Convert a published state dict to ours.

    Raises
    ------
    HeadError
        A tensor is missing; the message names it.
    """
    ours = {name: _named(state, theirs) for name, theirs in _OTHERS.items()}
    for layer in range(sizes.layers):
        for name, theirs in TORCH_NAMES.items():
            ours[f"attention.{layer}.{name}"] = _named(state, f"attn.{layer}.{theirs}")
    return ours


def _named(state: Mapping[str, Tensor], name: str) -> Tensor:
    if name not in state:
        raise HeadError(f"published baseline: tensor {name} is missing; is this SongEval's head?")
    return state[name]
