"""Our head against the published model's own scores."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from stages.head.data.cmixup import draw_partners, song_weights
from stages.head.data.epoch_plan import PlannedBatch
from stages.head.data.records import Packed
from stages.head.errors import HeadError
from stages.head.model.hear import HearHead
from stages.head.model.published import from_published, is_published, published_sizes
from stages.head.model.sizes import HeadSizes, preset_sizes
from stages.head.training.losses import hybrid_loss, listmle
from stages.head.training.step import Objective, batch_loss

PARITY = Path(__file__).parents[3] / "parity"


def published(track: int) -> tuple[HearHead, dict[str, np.ndarray]]:
    state = torch.load(PARITY / f"hear_track{track}.pth", weights_only=True)
    sizes = published_sizes(state)
    head = HearHead(sizes).eval()
    head.load_state_dict(from_published(state, sizes))
    return head, dict(np.load(PARITY / f"hear_track{track}.npz"))


def padded(songs: list[np.ndarray], *, fill: float = 1e3) -> tuple[torch.Tensor, torch.Tensor]:
    longest = max(map(len, songs)) + 7
    frames = torch.full((len(songs), longest, songs[0].shape[1]), fill)
    valid = torch.zeros(len(songs), longest, dtype=torch.bool)
    for row, song in enumerate(songs):
        frames[row, : len(song)] = torch.from_numpy(song)
        valid[row, : len(song)] = True
    return frames, valid


@pytest.fixture(params=[1, 2], scope="module")
def model(request: pytest.FixtureRequest) -> tuple[HearHead, dict[str, np.ndarray]]:
    return published(request.param)


def test_sizes_are_read_from_the_tensors() -> None:
    for track in (1, 2):
        state = torch.load(PARITY / f"hear_track{track}.pth", weights_only=True)
        said = json.loads((PARITY / f"hear_track{track}.json").read_text())
        sizes = published_sizes(state)
        assert is_published(state)
        assert (sizes.features, sizes.projected, sizes.width) == (
            said["input_dim_raw"],
            said["input_dim"],
            said["in_features"],
        )
        assert (sizes.hidden, sizes.layers, sizes.classes) == (
            said["ffd_hidden_size"],
            said["attn_layer_num"],
            said["num_classes"],
        )
        assert (sizes.stride, sizes.heads, sizes.queries, sizes.bottleneck) == (3, 8, 2, 64)


def test_a_song_alone_scores_as_published(model: tuple[HearHead, dict[str, np.ndarray]]) -> None:
    head, expected = model
    for song in range(4):
        frames = torch.from_numpy(expected[f"features_{song}"])[None]
        with torch.no_grad():
            scores = head(frames, torch.ones(frames.shape[:2], dtype=torch.bool))
        np.testing.assert_allclose(scores[0], expected["scores"][song], atol=1e-5, rtol=0)


def test_a_padded_batch_scores_as_each_song_alone(model: tuple[HearHead, dict[str, np.ndarray]]) -> None:
    head, expected = model
    songs = [expected[f"features_{song}"] for song in (3, 0, 2)] + [expected["features_ragged"]]
    with torch.no_grad():
        scores = head(*padded(songs))
    np.testing.assert_allclose(scores[:3], expected["scores"][[3, 0, 2]], atol=1e-5, rtol=0)
    np.testing.assert_allclose(scores[3], expected["score_ragged"], atol=1e-5, rtol=0)


def test_padding_does_not_change_the_scores(model: tuple[HearHead, dict[str, np.ndarray]]) -> None:
    head, expected = model
    songs = [expected["features_ragged"], expected["features_1"]]
    with torch.no_grad():
        assert torch.equal(head(*padded(songs, fill=0.0)), head(*padded(songs, fill=float("nan"))))


def test_mixing_pooled_vectors_as_published(model: tuple[HearHead, dict[str, np.ndarray]]) -> None:
    head, expected = model
    anchors, partners = expected["mix_a"], expected["mix_b"]
    lengths = [songs.shape[1] // 3 for songs in (anchors, partners) for _ in songs]
    frames = torch.from_numpy(np.concatenate([anchors.reshape(-1, 64), partners.reshape(-1, 64)]))
    batch = PlannedBatch((), len(anchors), expected["mix_targets"], float(expected["mix_lambda"]))
    objective = Objective(beta=0.15, smooth_l1_beta=0.5, mix="pooled")
    with torch.no_grad():
        loss, regression, ranking = batch_loss(
            head, Packed(frames, lengths), batch, objective, generator=torch.Generator().manual_seed(0)
        )
    far = np.abs(expected["mix_scores"] - expected["mix_targets"])
    assert regression.item() == pytest.approx(np.where(far < 0.5, far**2, far - 0.25).mean(), abs=1e-5)
    # ListMLE of two songs: log(1 + exp(worse − better)).
    best_first = np.take_along_axis(expected["mix_scores"], np.argsort(-expected["mix_targets"], axis=0), 0)
    assert ranking.item() == pytest.approx(np.log1p(np.exp(best_first[1] - best_first[0])).mean(), abs=1e-5)
    assert loss.item() == pytest.approx(regression.item() + 0.15 * ranking.item(), rel=1e-6)


def test_a_missing_published_tensor_is_named() -> None:
    state = torch.load(PARITY / "hear_track2.pth", weights_only=True)
    del state["model.attn.1.in_proj_bias"]
    with pytest.raises(HeadError, match=r"tensor model\.attn\.1\.in_proj_bias is missing"):
        from_published(state, published_sizes(state))


def test_the_papers_head_has_38_07_million_parameters() -> None:
    with torch.device("meta"):
        head = HearHead(preset_sizes("paper", features=4096, classes=5))
    assert round(sum(p.numel() for p in head.parameters()) / 1e6, 2) == 38.07


def test_gradients_are_finite_and_reach_every_parameter() -> None:
    torch.manual_seed(0)
    head = HearHead(HeadSizes(features=12, classes=2, projected=10, width=16, hidden=8, layers=2))
    head(torch.zeros(2, 9, 12), torch.ones(2, 9, dtype=torch.bool)).sum().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in head.parameters())


@pytest.mark.parametrize(
    ("lengths", "message"), [([2, 9], "song 0 of the batch has fewer than 3 frames"), (None, "valid frames must come")]
)
def test_songs_that_cannot_be_scored(lengths: list[int] | None, message: str) -> None:
    head = HearHead(HeadSizes(features=4, classes=1, projected=8, width=8, hidden=8, layers=1))
    valid = torch.tensor([[False] + [True] * 8] * 2)
    if lengths:
        valid = torch.arange(9) < torch.tensor(lengths)[:, None]
    with pytest.raises(HeadError, match=message):
        head(torch.zeros(2, 9, 4), valid)


def test_listmle_and_smooth_l1_as_published() -> None:
    values = np.load(PARITY / "objectives.npz")
    predicted, rated = (torch.from_numpy(values[name]).T for name in ("listmle_pred", "listmle_true"))
    assert listmle(predicted, rated).item() == pytest.approx(float(values["listmle_loss"]), rel=1e-6)
    loss, regression, ranking = hybrid_loss(predicted, rated, beta=0.05, smooth_l1_beta=float(values["smoothl1_beta"]))
    assert regression.item() == pytest.approx(float(values["smoothl1_loss"]), rel=1e-6)
    assert loss.item() == pytest.approx(regression.item() + 0.05 * ranking.item(), rel=1e-6)


def test_listmle_breaks_ties_at_random_and_averages_dimensions() -> None:
    predicted = torch.tensor([[0.0, 0.0], [1.0, 1.0]])
    rated = torch.tensor([[3.0, 1.0], [3.0, 2.0]])
    generator = torch.Generator().manual_seed(0)
    values = {round(listmle(predicted, rated, generator=generator).item(), 6) for _ in range(30)}
    right, wrong = np.log1p(np.exp(-1)), np.log1p(np.exp(1))
    assert values == {round((right + right) / 2, 6), round((wrong + right) / 2, 6)}


def test_cmixup_probabilities_as_published() -> None:
    values = np.load(PARITY / "objectives.npz")
    songs, first = np.unique(values["cmixup_songs"], return_index=True)
    views = np.bincount(values["cmixup_songs"])
    labels = values["cmixup_labels"][first]
    weights = song_weights(labels, views, sigma=float(values["cmixup_sigma"]), rows=songs)
    of_rows = (weights / views)[values["cmixup_songs"]][:, values["cmixup_songs"]]
    np.testing.assert_allclose(of_rows, values["cmixup_weights"], atol=1e-6, rtol=0)


def test_partners_are_drawn_with_those_probabilities() -> None:
    labels = np.array([[1.0], [1.5], [3.0], [5.0]])
    views = np.array([1, 3, 2, 1])
    anchors = np.zeros(40_000, np.int64)
    partners, view = draw_partners(anchors, labels, views, sigma=1.0, generator=np.random.default_rng(0))
    expected = song_weights(labels, views, sigma=1.0, rows=np.array([0]))[0]
    np.testing.assert_allclose(np.bincount(partners, minlength=4) / len(anchors), expected, atol=0.01)
    assert not np.any(partners == 0)
    assert np.all(view < views[partners])
    np.testing.assert_allclose(np.bincount(view[partners == 1]) / np.sum(partners == 1), 1 / 3, atol=0.02)


def test_a_tiny_sigma_still_finds_the_nearest_song() -> None:
    labels = np.array([[1.0], [4.0], [5.0]])
    partners, _ = draw_partners(
        np.arange(3), labels, np.ones(3, np.int64), sigma=1e-3, generator=np.random.default_rng(0)
    )
    assert partners.tolist() == [1, 2, 1]
