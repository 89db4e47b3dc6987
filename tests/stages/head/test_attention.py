"""bf16 attention on a CPU, which has a path of its own, against fp32."""

import pytest
import torch

from stages.head import attention
from stages.head.attention import SelfAttention

LENGTHS = (13, 5, 1)


def gradients(layer: SelfAttention, windows: torch.Tensor, lengths: tuple[int, ...]) -> list[torch.Tensor]:
    """The result, and the gradients of the windows and of every parameter."""
    windows = windows.clone().requires_grad_()
    layer.zero_grad()
    result = layer(windows, lengths)
    result.float().square().sum().backward()
    found = [result, windows.grad, *(parameter.grad for parameter in layer.parameters())]
    return [tensor.detach().float() for tensor in found if tensor is not None]


@pytest.mark.parametrize("rows", [4, 2048])
def test_bf16_on_a_cpu_gives_what_fp32_gives(monkeypatch: pytest.MonkeyPatch, rows: int) -> None:
    monkeypatch.setattr(attention, "ROWS_AT_ONCE", rows)
    torch.manual_seed(0)
    layer, windows = SelfAttention(width=16, heads=2), 2 * torch.randn(sum(LENGTHS), 16)
    expected = gradients(layer, windows, LENGTHS)
    with torch.autocast("cpu", torch.bfloat16):
        found = gradients(layer, windows, LENGTHS)
    assert len(found) == len(expected) == 6
    for mine, right in zip(found, expected, strict=True):
        assert (mine - right).norm() < 0.02 * right.norm()  # bf16 keeps 8 bits: 0.4 % a rounding


def test_bf16_songs_do_not_see_each_other() -> None:
    torch.manual_seed(0)
    layer, windows = SelfAttention(width=16, heads=2).bfloat16(), torch.randn(sum(LENGTHS), 16).bfloat16()
    alone = [layer(song, [len(song)]) for song in windows.split(list(LENGTHS))]
    torch.testing.assert_close(layer(windows, LENGTHS), torch.cat(alone), atol=1e-2, rtol=0)
