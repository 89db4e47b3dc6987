"""The hybrid objective (paper §2.4): SmoothL1 on the scores plus β · ListMLE on their order."""

import torch
from torch import Tensor
from torch.nn import functional as F


def listmle(predicted: Tensor, targets: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
    """−log of the Plackett–Luce likelihood of the order of the targets, averaged over dimensions.

    Parameters
    ----------
    predicted, targets
        (B, D): the songs of a batch are ranked within each dimension.
    generator
        Breaks ties: songs with equal targets come in random order. On the CPU.

    Returns
    -------
    Tensor
        Scalar, float32.
    """
    shuffled = torch.randperm(len(targets), generator=generator).to(targets.device, non_blocking=True)
    order = targets[shuffled].argsort(dim=0, descending=True, stable=True)
    ranked = predicted[shuffled].gather(0, order).float()
    # log Σ over a song and all songs ranked below it.
    below = ranked.flip(0).logcumsumexp(0).flip(0)
    return (below - ranked).sum(0).mean()


def hybrid_loss(
    predicted: Tensor,
    targets: Tensor,
    *,
    beta: float,
    smooth_l1_beta: float,
    generator: torch.Generator | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """SmoothL1 + β · ListMLE of (B, D) scores: the sum, then its two parts (the second without β)."""
    regression = F.smooth_l1_loss(predicted.float(), targets.float(), beta=smooth_l1_beta)
    if beta == 0:
        return regression, regression, regression.new_zeros(())
    ranking = listmle(predicted, targets, generator=generator)
    return regression + beta * ranking, regression, ranking
