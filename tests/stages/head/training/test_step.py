"""The forward pass of one batch, and its mixing, against NumPy."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from stages.head.data.epoch_plan import PlannedBatch
from stages.head.data.records import Packed
from stages.head.model.packed import PackedModel
from stages.head.model.sizes import ModelSizes, SongEvalSizes
from stages.head.model.songeval import SongEvalHead
from stages.head.training.step import Objective, batch_loss, mix_frames

STRIDE = 3
SHARE = 0.3  # far from 1/2, where swapped shares would be equal
LENGTHS = [2, 3, 3, 1]  # patches: two anchors, then their partners
TARGETS = np.array([[1.5, 4.5], [4.0, 3.2]], np.float32)


class MeanHead(PackedModel):
    """The simplest head: the mean frame of each song, one linear layer."""

    def __init__(self) -> None:
        super().__init__(ModelSizes(features=4, classes=2, heads=1, stride=STRIDE))
        self.output = torch.nn.Linear(4, 2)

    def pool(self, frames: torch.Tensor, lengths: Sequence[int]) -> torch.Tensor:
        songs = torch.split(frames.float(), [length * STRIDE for length in lengths])
        return torch.stack([song.mean(0) for song in songs])


@pytest.fixture
def model() -> MeanHead:
    torch.manual_seed(0)
    return MeanHead()


@pytest.fixture
def songs() -> list[NDArray[np.float16]]:
    generator = np.random.default_rng(0)
    return [generator.normal(0, 2, (length * STRIDE, 4)).astype(np.float16) for length in LENGTHS]


def packed(songs: Sequence[NDArray[np.floating]]) -> Packed:
    return Packed(torch.from_numpy(np.concatenate(songs)), [len(song) // STRIDE for song in songs])


def planned(*, anchors: int = 2, share: float = SHARE) -> PlannedBatch:
    return PlannedBatch((), anchors, TARGETS, share)


def losses(model: MeanHead, data: Packed, batch: PlannedBatch, mix: str) -> list[float]:
    objective = Objective(beta=0.15, smooth_l1_beta=0.5, mix=mix)
    found = batch_loss(model, data, batch, objective, generator=torch.Generator().manual_seed(0))
    return [loss.item() for loss in found]


def scores_of(model: MeanHead, pooled: NDArray[np.floating]) -> NDArray[np.float64]:
    weight, bias = (parameter.detach().double().numpy() for parameter in model.output.parameters())
    return np.tanh(pooled @ weight.T + bias) * 2 + 3


def expected(model: MeanHead, pooled: NDArray[np.floating]) -> list[float]:
    """The loss and its parts (paper §2.4) in float64, from mixed vectors."""
    scores = scores_of(model, pooled)
    far = np.abs(scores - TARGETS)
    regression = np.where(far < 0.5, far**2, far - 0.25).mean()
    best_first = np.take_along_axis(scores, np.argsort(-TARGETS, axis=0), 0)
    ranking = np.log1p(np.exp(best_first[1] - best_first[0])).mean()  # ListMLE of two songs
    return [regression + 0.15 * ranking, regression, ranking]


def mean_frames(songs: Sequence[NDArray[np.floating]]) -> NDArray[np.float64]:
    return np.stack([song.astype(np.float64).mean(0) for song in songs])


def mixed_frames(songs: Sequence[NDArray[np.float16]]) -> list[NDArray[np.float16]]:
    pairs = zip(songs[:2], songs[2:], strict=True)
    shared = [(a[: len(b)].astype(np.float64), b[: len(a)].astype(np.float64)) for a, b in pairs]
    return [(SHARE * a + (1 - SHARE) * b).astype(np.float16) for a, b in shared]


def test_pooled_vectors_are_mixed_by_share(model: MeanHead, songs: list) -> None:
    pooled = mean_frames(songs)
    mixed = SHARE * pooled[:2] + (1 - SHARE) * pooled[2:]
    far = np.abs(scores_of(model, mixed) - TARGETS)
    assert far.min() < 0.4  # where SmoothL1 is square
    assert far.max() > 0.6  # where it is linear
    right = expected(model, mixed)
    assert losses(model, packed(songs), planned(), "pooled") == pytest.approx(right, rel=1e-5)


def test_frames_are_mixed_by_share_up_to_the_shorter_length(songs: list) -> None:
    mixed, lengths = mix_frames(*packed(songs), stride=STRIDE, share=SHARE)
    assert lengths == [2, 1]
    assert mixed.dtype == torch.float16
    # To within a rounding of float16: NumPy's sum rounds from float64, ours from float32.
    np.testing.assert_allclose(mixed.numpy(), np.concatenate(mixed_frames(songs)), rtol=2**-10, atol=0)


def test_the_loss_of_mixed_frames_is_computed_from_them(model: MeanHead, songs: list) -> None:
    right = expected(model, mean_frames(mixed_frames(songs)))
    assert losses(model, packed(songs), planned(), "frames") == pytest.approx(right, rel=1e-3)


@pytest.mark.parametrize("mix", ["pooled", "frames", "none"])
def test_songs_without_partners_are_not_mixed(model: MeanHead, songs: list, mix: str) -> None:
    right = expected(model, mean_frames(songs[1:3]))
    assert losses(model, packed(songs[1:3]), planned(share=1.0), mix) == pytest.approx(right, rel=1e-5)


def test_the_baselines_last_dropout_acts_on_the_pooled_vector_only_in_training() -> None:
    torch.manual_seed(0)
    model = SongEvalHead(SongEvalSizes(features=500, classes=1, hidden=4, layers=1, heads=2, dropout=0.2))
    seen: list[torch.Tensor] = []
    model.output.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    pooled = torch.ones(4, 1000)
    model.train().rate(pooled)
    model.eval().rate(pooled)
    assert seen[0].unique().tolist() == [0.0, 1.25]
    assert (seen[0] == 0).double().mean().item() == pytest.approx(0.2, abs=0.02)
    assert torch.equal(seen[1], pooled)
