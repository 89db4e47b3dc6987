"""The published HEAR checkpoints: their tensor names, and their sizes as read from tensor shapes."""

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from stages.head.errors import HeadError
from stages.head.model.attention import TORCH_NAMES
from stages.head.model.sizes import HeadSizes

_SCORER = "model.mqmhastp.n_query.{query}.heads_att_trans.{head}.att_{layer}.{kind}"
# Our name: published name, where the tensors are the same.
_SAME = {
    "project.weight": "mixed_win_downsample.weight",
    "project.bias": "mixed_win_downsample.bias",
    "project_norm.weight": "input_norm.weight",
    "project_norm.bias": "input_norm.bias",
    "downsample.norm.weight": "down_sample_conv.norm1.weight",
    "downsample.norm.bias": "down_sample_conv.norm1.bias",
    "feed_forward.0.weight": "model.ffd.0.weight",
    "feed_forward.0.bias": "model.ffd.0.bias",
    "feed_forward.2.weight": "model.ffd.3.weight",
    "feed_forward.2.bias": "model.ffd.3.bias",
    "attention_norm.weight": "model.ln_ffd.weight",
    "attention_norm.bias": "model.ln_ffd.bias",
    "output.weight": "model.fc.weight",
    "output.bias": "model.fc.bias",
}
_DEPTHWISE = "down_sample_conv.depthwise_conv.weight"
_POINTWISE = "down_sample_conv.pointwise_conv.weight"
_RESIDUAL = "down_sample_conv.residual_conv.weight"
_SCORER_NAMES = {"squeeze": 0, "expand": 1}


def is_published(state: Mapping[str, Tensor]) -> bool:
    """Whether these tensors are named as in the published HEAR checkpoints."""
    return "mixed_win_downsample.weight" in state


def published_sizes(state: Mapping[str, Tensor]) -> HeadSizes:
    """Read the sizes from the tensors' shapes. These do not show the attention heads, which equal the pooling's: 8.

    Raises
    ------
    HeadError
        A tensor that shows a size is missing.
    """
    scorer = _named(state, _SCORER.format(query=0, head=0, layer=0, kind="weight"))
    projected, features = _named(state, "mixed_win_downsample.weight").shape
    return HeadSizes(
        features=features,
        classes=_named(state, "model.fc.weight").shape[0],
        projected=projected,
        width=_named(state, _POINTWISE).shape[0],
        hidden=_named(state, "model.ffd.0.weight").shape[0],
        layers=_count(state, r"model\.attn\.(\d+)\.in_proj_weight"),
        heads=_count(state, r"model\.mqmhastp\.n_query\.0\.heads_att_trans\.(\d+)\.att_0\.weight"),
        queries=_count(state, r"model\.mqmhastp\.n_query\.(\d+)\.heads_att_trans\.0\.att_0\.weight"),
        bottleneck=scorer.shape[0],
        stride=_named(state, _DEPTHWISE).shape[2],
    )


def from_published(state: Mapping[str, Tensor], sizes: HeadSizes) -> dict[str, Tensor]:
    """Convert a published state dict to ours.

    Raises
    ------
    HeadError
        A tensor is missing; the message names it.
    """
    ours = {name: _named(state, theirs) for name, theirs in _SAME.items()}
    ours["downsample.depthwise"] = _named(state, _DEPTHWISE).squeeze(1).T.contiguous()
    ours["downsample.pointwise.weight"] = _named(state, _POINTWISE).squeeze(2)
    ours["downsample.residual.weight"] = _named(state, _RESIDUAL).squeeze(2)
    for layer in range(sizes.layers):
        for name, theirs in TORCH_NAMES.items():
            ours[f"attention.{layer}.{name}"] = _named(state, f"model.attn.{layer}.{theirs}")
    for name, layer in _SCORER_NAMES.items():
        ours[f"pooling.{name}_weight"] = _scorers(state, sizes, layer, "weight").squeeze(-1)
        ours[f"pooling.{name}_bias"] = _scorers(state, sizes, layer, "bias")
    return ours


def _scorers(state: Mapping[str, Tensor], sizes: HeadSizes, layer: int, kind: str) -> Tensor:
    return torch.stack(
        [
            torch.stack(
                [
                    _named(state, _SCORER.format(query=query, head=head, layer=layer, kind=kind))
                    for head in range(sizes.heads)
                ]
            )
            for query in range(sizes.queries)
        ]
    )


def _count(state: Mapping[str, Tensor], pattern: str) -> int:
    return sum(re.fullmatch(pattern, name) is not None for name in state)


def _named(state: Mapping[str, Tensor], name: str) -> Tensor:
    if name not in state:
        raise HeadError(f"published checkpoint: tensor {name} is missing; is this a HEAR head?")
    return state[name]
