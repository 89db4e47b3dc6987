"""SongEval's head, the baseline: the published model's scores, and songs do not affect each other."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from stages.head.checkpoint.saved import load_head
from stages.head.errors import HeadError
from stages.head.model.sizes import SongEvalSizes
from stages.head.model.songeval import SongEvalHead

PARITY = Path(__file__).parents[3] / "parity"


def test_the_published_baseline_scores_as_published() -> None:
    head = load_head(PARITY / "songeval.safetensors")
    values = np.load(PARITY / "songeval.npz")
    assert head.streams == ("muq/track@6",)
    assert head.layers == (6,)
    for frames, expected in zip(values["features"], values["scores"], strict=True):
        scores = list(head.score(frames[None]).values())
        np.testing.assert_allclose(scores, expected, atol=1e-5, rtol=0)


def test_songs_of_a_ragged_batch_have_the_same_scores_as_alone() -> None:
    head = load_head(PARITY / "songeval.safetensors")
    songs = [
        frames[None, :length]
        for frames, length in zip(np.load(PARITY / "songeval.npz")["features"], (40, 7, 23), strict=True)
    ]
    together = head.score_many(songs)
    alone = np.concatenate([head.score_many([song]) for song in songs])
    np.testing.assert_allclose(together, alone, atol=1e-6, rtol=0)


def test_a_missing_tensor_is_named(tmp_path: Path) -> None:
    state = load_file(PARITY / "songeval.safetensors")
    del state["attn.1.out_proj.bias"]
    save_file(state, tmp_path / "cut.safetensors")
    with pytest.raises(HeadError, match=r"tensor attn\.1\.out_proj\.bias is missing; is this SongEval's head"):
        load_head(tmp_path / "cut.safetensors")


def test_dropout_acts_on_the_attention_while_training_and_repeats_with_its_seed() -> None:
    torch.manual_seed(0)
    model = SongEvalHead(SongEvalSizes(features=16, classes=1, hidden=8, layers=1, heads=2))
    frames = torch.randn(12, 16)

    def pooled(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        return model.pool(frames, [5, 7])

    model.train()
    assert torch.equal(pooled(1), pooled(1))
    assert not torch.equal(pooled(1), pooled(2))
    pooled(1).sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in model.attention.parameters() if p.grad is not None)
    model.eval()
    assert torch.equal(pooled(1), pooled(2))


def test_the_papers_sizes() -> None:
    with torch.device("meta"):
        model = SongEvalHead(SongEvalSizes(features=1024, classes=5))
    linear = 1024 * 4096 + 4096 + 4096 * 1024 + 1024
    attention = 4 * (4 * 1024**2 + 4 * 1024)
    assert sum(p.numel() for p in model.parameters()) == linear + attention + 2048 * 5 + 5
