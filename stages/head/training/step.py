"""The forward pass of one batch: packed frames in, the hybrid loss out."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from stages.head.data.epoch_plan import PlannedBatch
from stages.head.data.records import Packed
from stages.head.model.packed import PackedModel
from stages.head.training.losses import hybrid_loss


@dataclass(frozen=True, kw_only=True)
class Objective:
    """The objective: β, SmoothL1's own beta, and what C-Mixup mixes (`pooled`, `frames` or `none`)."""

    beta: float
    smooth_l1_beta: float
    mix: str


def batch_loss(
    model: PackedModel, packed: Packed, batch: PlannedBatch, objective: Objective, *, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Loss, its regression part and its ranking part (without β), each a scalar.

    Anchors and partners pass the model together; each pair is mixed with weights `batch.share` and 1 − `batch.share`.
    """
    device = next(model.parameters()).device
    frames, lengths = packed.frames.to(device, non_blocking=True), packed.lengths
    if objective.mix == "frames" and len(lengths) > batch.anchors:
        frames, lengths = mix_frames(frames, lengths, stride=model.sizes.stride, share=batch.share)
    pooled = model.pool(frames, lengths)
    if len(pooled) > batch.anchors:
        pooled = batch.share * pooled[: batch.anchors] + (1 - batch.share) * pooled[batch.anchors :]
    targets = torch.from_numpy(batch.targets).to(device, non_blocking=True)
    return hybrid_loss(
        model.rate(pooled),
        targets,
        beta=objective.beta,
        smooth_l1_beta=objective.smooth_l1_beta,
        generator=generator,
    )


def mix_frames(frames: Tensor, lengths: Sequence[int], *, stride: int, share: float) -> tuple[Tensor, list[int]]:
    """Mix each anchor with its partner frame by frame, up to the length of the shorter one.

    Parameters
    ----------
    frames
        (P · stride, F): the anchors, then as many partners, packed.
    lengths
        Patches of each, 2 · A.

    Returns
    -------
    tuple
        Mixed frames, packed, of the type of `frames`, and the patches of each, A.
    """
    songs = torch.split(frames, [length * stride for length in lengths])
    count = len(songs) // 2
    mixed = [_mixed(a, b, share) for a, b in zip(songs[:count], songs[count:], strict=True)]
    return torch.cat(mixed), [len(song) // stride for song in mixed]


def _mixed(anchor: Tensor, partner: Tensor, share: float) -> Tensor:
    shared = min(len(anchor), len(partner))
    return torch.lerp(partner[:shared].float(), anchor[:shared].float(), share).to(anchor.dtype)
