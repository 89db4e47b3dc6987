"""Attention on a CPU in bf16 and with dropout, which has its own implementation."""

from collections.abc import Sequence

import pytest
import torch

from stages.head.model import attention
from stages.head.model.attention import SelfAttention
from stages.head.model.packed import Songs

LENGTHS = (13, 5, 1)


def songs(lengths: Sequence[int]) -> Songs:
    return Songs(lengths, torch.device("cpu"))


def gradients(layer: SelfAttention, patches: torch.Tensor, lengths: tuple[int, ...]) -> list[torch.Tensor]:
    """The result, and the gradients of the patches and of every parameter."""
    patches = patches.clone().requires_grad_()
    layer.zero_grad()
    result = layer(patches, songs(lengths))
    result.float().square().sum().backward()
    found = [result, patches.grad, *(parameter.grad for parameter in layer.parameters())]
    return [tensor.detach().float() for tensor in found if tensor is not None]


@pytest.mark.parametrize("rows", [4, 2048])
def test_bf16_on_a_cpu_agrees_with_fp32(monkeypatch: pytest.MonkeyPatch, rows: int) -> None:
    monkeypatch.setattr(attention, "ROWS_AT_ONCE", rows)
    torch.manual_seed(0)
    layer, patches = SelfAttention(width=16, heads=2), 2 * torch.randn(sum(LENGTHS), 16)
    expected = gradients(layer, patches, LENGTHS)
    with torch.autocast("cpu", torch.bfloat16):
        found = gradients(layer, patches, LENGTHS)
    assert len(found) == len(expected) == 6
    for mine, right in zip(found, expected, strict=True):
        assert (mine - right).norm() < 0.02 * right.norm()  # bf16 keeps 8 bits: 0.4 % per rounding


def test_bf16_songs_do_not_see_each_other() -> None:
    torch.manual_seed(0)
    layer, patches = SelfAttention(width=16, heads=2).bfloat16(), torch.randn(sum(LENGTHS), 16).bfloat16()
    alone = [layer(song, songs([len(song)])) for song in patches.split(list(LENGTHS))]
    torch.testing.assert_close(layer(patches, songs(LENGTHS)), torch.cat(alone), atol=1e-2, rtol=0)


@pytest.mark.parametrize("rows", [4, 2048])
def test_gradients_with_dropout_match_the_forward_pass(monkeypatch: pytest.MonkeyPatch, rows: int) -> None:
    monkeypatch.setattr(attention, "ROWS_AT_ONCE", rows)
    torch.manual_seed(0)
    layer = SelfAttention(width=8, heads=2, dropout=0.3).double()
    patches = torch.randn(11, 8, dtype=torch.float64, requires_grad=True)

    def seeded(values: torch.Tensor) -> torch.Tensor:
        torch.manual_seed(5)
        return layer(values, songs((6, 4, 1)))

    assert torch.autograd.gradcheck(seeded, (patches,))


def test_dropout_drops_its_share_and_keeps_the_mean() -> None:
    torch.manual_seed(0)
    layer, patches = SelfAttention(width=8, heads=2, dropout=0.2), torch.randn(40, 8)
    drawn = torch.stack([layer(patches, songs((40,))) for _ in range(400)])
    layer.eval()
    expected = layer(patches, songs((40,)))
    assert (drawn.mean(0) - expected).abs().max() < 5 * (drawn.std(0) / 20).max()
    weights = attention._Dropout(0.2, seed=1).next(torch.ones(500, 500))
    assert (weights == 0).float().mean().item() == pytest.approx(0.2, abs=0.005)
