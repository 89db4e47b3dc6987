"""The hybrid objective (paper §2.4): SmoothL1 on the scores plus β · ListMLE on their order."""

import torch
from torch import Tensor
from torch.nn import functional as F


def listmle(predicted: Tensor, rated: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
    """−log of the Plackett–Luce likelihood of the rated order, averaged over dimensions.

    Parameters
    ----------
    predicted, rated
        (B, D): the songs of a batch are ranked within each dimension.
    generator
        Breaks ties: songs rated the same come in random order. On the CPU.

    Returns
    -------
    Tensor
        Scalar, float32.
    """
    shuffled = torch.randperm(len(rated), generator=generator).to(rated.device)
    order = rated[shuffled].argsort(dim=0, descending=True, stable=True)
    ranked = predicted[shuffled].gather(0, order).float()
    # log Σ over a song and all that rank below it.
    below = ranked.flip(0).logcumsumexp(0).flip(0)
    return (below - ranked).sum(0).mean()


def hybrid_loss(
    predicted: Tensor,
    rated: Tensor,
    *,
    beta: float,
    smooth_l1_beta: float,
    generator: torch.Generator | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """SmoothL1 + β · ListMLE of (B, D) scores: the sum, then its two parts (the second without β)."""
    regression = F.smooth_l1_loss(predicted.float(), rated.float(), beta=smooth_l1_beta)
    if beta == 0:
        return regression, regression, regression.new_zeros(())
    ranking = listmle(predicted, rated, generator=generator)
    return regression + beta * ranking, regression, ranking
