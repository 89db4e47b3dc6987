"""Attention without its score matrix, and the conformer's passes."""

import pytest
import torch
import torch.nn.functional as F

from stages.extract.encoders.layers import attention
from stages.extract.encoders.layers.conformer import ConformerLayer, FeedForward
from stages.extract.encoders.layers.packs import Batch
from stages.extract.encoders.weights.published import build_conformer
from stages.extract.encoders.weights.untrained import untrained


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def conformer(depth):
    return build_conformer(untrained("musicfm"), depth)


@pytest.mark.parametrize(("tokens", "queries"), [(1, 512), (50, 16), (100, 512), (33, 32)])
def test_blocks_equal_scaled_dot_product_attention(tokens, queries, monkeypatch):
    monkeypatch.setattr(attention, "has_bf16_flash", lambda: False)
    monkeypatch.setattr(attention, "QUERIES", queries)
    query, key, value = (noise(2, 3, tokens, 16, seed=seed) for seed in range(3))
    exact = F.scaled_dot_product_attention(query, key, value)
    blocks = attention.attend(query.bfloat16(), key.bfloat16(), value.bfloat16())
    assert blocks.dtype == torch.bfloat16
    torch.testing.assert_close(blocks.float(), exact, atol=0.03, rtol=0)


def test_several_layers_in_one_pass_equal_single_layers(monkeypatch):
    tokens = noise(2, 40, 64)
    untouched = tokens.clone()
    passes, forward = [], ConformerLayer.forward
    with monkeypatch.context() as counted:
        counted.setattr(ConformerLayer, "forward", lambda layer, *given: passes.append(layer) or forward(layer, *given))
        together = conformer(5)(Batch(tokens), (5, 0, 2))
    assert len(passes) == len(set(passes)) == 5
    assert torch.equal(tokens, untouched)
    for state, layer in zip(together, (5, 0, 2), strict=True):
        assert torch.equal(state, conformer(layer)(Batch(tokens), (layer,))[0])


def test_the_last_published_layer_comes_after_the_final_norm():
    (state,) = conformer(12)(Batch(noise(1, 30, 64)), (12,))
    torch.testing.assert_close(state.mean(-1), torch.zeros(1, 30), atol=1e-5, rtol=0)
    assert conformer(11).last_norm is None


def test_signals_of_a_batch_are_independent():
    tokens = noise(3, 40, 64)
    batch = conformer(3)(Batch(tokens), (3,))[0]
    for signal, state in zip(tokens, batch, strict=True):
        torch.testing.assert_close(conformer(3)(Batch(signal[None]), (3,))[0][0], state, atol=1e-5, rtol=0)


def test_rows_of_the_feed_forward_are_independent(monkeypatch):
    torch.manual_seed(0)
    layer = FeedForward(8, 16).requires_grad_(False)
    whole = layer.add_to(noise(1, 20, 8))
    monkeypatch.setattr(FeedForward, "ROWS", 7)
    torch.testing.assert_close(layer.add_to(noise(1, 20, 8)), whole, atol=1e-6, rtol=0)
