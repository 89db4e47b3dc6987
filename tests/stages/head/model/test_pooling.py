"""Pooling and reductions within packed songs: a loop over songs, and one padded batch as on a GPU."""

import pytest
import torch

from stages.head.model.packed import Songs
from stages.head.model.pooling import VARIANCE_FLOOR, AttentivePooling, _Statistics
from stages.head.model.sizes import SongEvalSizes
from stages.head.model.songeval import SongEvalHead

LENGTHS = [5, 1, 9]


@pytest.fixture(params=[False, True], ids=["loop", "padded"])
def songs(request: pytest.FixtureRequest) -> Songs:
    return made(padded=request.param)


def made(*, padded: bool) -> Songs:
    songs = Songs(LENGTHS, torch.device("cpu"))
    songs.padded = padded
    return songs


def by_formula(slices: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
    """The published statistics, song by song, differentiated by autograd."""
    found = []
    for values, scores in zip(slices.split(LENGTHS, 1), logits.split(LENGTHS, 2), strict=True):
        weights = scores.softmax(2)
        mean = (weights * values).sum(2)
        variance = (weights * values.square()).sum(2) - mean.square()
        found.append(torch.stack([mean, variance.clamp(min=VARIANCE_FLOOR).sqrt()], dim=2))
    return torch.stack(found, dim=2)


def test_patches_return_from_their_batches(songs: Songs) -> None:
    patches = torch.randn(2, sum(LENGTHS), 3)
    batches = songs.batches(patches, fill=-1.0)
    assert [tuple(batch.shape) for batch in batches] == (
        [(2, 3, 9, 3)] if songs.padded else [(2, 1, length, 3) for length in LENGTHS]
    )
    assert torch.equal(songs.pack(batches), patches)
    assert sum(int((batch == -1).sum()) for batch in batches) == (12 * 6 if songs.padded else 0)


def test_statistics_and_their_gradients_follow_the_formula(songs: Songs) -> None:
    torch.manual_seed(0)
    slices, logits = torch.randn(2, sum(LENGTHS), 4), 3 * torch.randn(3, 2, sum(LENGTHS), 4)
    slices[0, :5] = 0.5  # no variance: the floor, without a gradient
    above, results = torch.randn(3, 2, len(LENGTHS), 2, 4), []
    for way in (by_formula, lambda *inputs: _Statistics.apply(*inputs, songs)):
        inputs = [tensor.clone().requires_grad_() for tensor in (slices, logits)]
        found = way(*inputs)
        found.backward(above)
        results.append([found, *(tensor.grad for tensor in inputs)])
    for mine, expected in zip(results[1], results[0], strict=True):
        torch.testing.assert_close(mine, expected, atol=1e-5, rtol=1e-5)


def test_gradients_of_the_statistics_match_the_forward_pass(songs: Songs) -> None:
    torch.manual_seed(0)
    songs.lengths = [5, 4, 6]  # a song of one patch has no variance, where the std cannot be differentiated
    songs.bounds = torch.tensor([0, 5, 9, 15])
    slices = torch.randn(1, 15, 2, dtype=torch.float64, requires_grad=True)
    logits = torch.randn(2, 1, 15, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda *inputs: _Statistics.apply(*inputs, songs), (slices, logits))


def test_pooling_a_padded_batch_equals_the_loop() -> None:
    torch.manual_seed(0)
    pooling = AttentivePooling(width=16, queries=2, heads=4, bottleneck=3)
    patches, results = torch.randn(sum(LENGTHS), 16), []
    for padded in (False, True):
        inputs = patches.clone().requires_grad_()
        pooling.zero_grad()
        pooled = pooling(inputs, made(padded=padded))
        pooled.square().sum().backward()
        results.append([pooled, inputs.grad, *(parameter.grad for parameter in pooling.parameters())])
    for mine, expected in zip(results[1], results[0], strict=True):
        torch.testing.assert_close(mine, expected, atol=2e-6, rtol=1e-5)


def test_songevals_pooling_of_a_padded_batch_equals_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    head = SongEvalHead(SongEvalSizes(features=8, classes=1, hidden=8, layers=1, heads=2)).eval()
    frames = torch.randn(sum(LENGTHS), 8) - 2  # mostly negative: padding with zeros would win the maximum
    results = []
    for padded in (False, True):
        monkeypatch.setattr("stages.head.model.songeval.Songs", lambda *_, padded=padded: made(padded=padded))
        head.zero_grad()
        pooled = head.pool(frames, LENGTHS)
        pooled.square().sum().backward()
        results.append([pooled, *(p.grad for p in head.parameters() if p.grad is not None)])
    for mine, expected in zip(results[1], results[0], strict=True):
        torch.testing.assert_close(mine, expected, atol=1e-5, rtol=1e-5)
