"""The stem in chunks, its Winograd convolutions, and its share between the two scales."""

from dataclasses import replace

import pytest
import torch

from stages.extract.encoders.layers.mel import LogMel
from stages.extract.encoders.layers.segments import SEGMENT, segment_lengths, segment_tokens, spectrograms, token_count
from stages.extract.encoders.layers.shapes import SHAPES
from stages.extract.encoders.layers.stem import Stem
from stages.extract.encoders.layers.winograd import Winograd
from stages.extract.encoders.weights.published import build_stem
from stages.extract.encoders.weights.untrained import untrained

SECOND = 24_000


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def stem():
    return build_stem(untrained("muq"), 128).tuned()


@pytest.mark.parametrize("width", [2, 4])
@pytest.mark.parametrize("shape", [(1, 64, 12), (2, 32, 7), (3, 2, 1), (1, 64, 50)])
def test_winograd_equals_the_convolution(width, shape):
    signals, mels, frames = shape
    convolution = torch.nn.Conv2d(8, 8, 3, padding=1).requires_grad_(False)
    convolution.weight.copy_(noise(8, 8, 3, 3))
    image = noise(signals, 8, mels, frames, seed=1)
    torch.testing.assert_close(Winograd(convolution, width=width)(image), convolution(image), atol=1e-4, rtol=0)


@pytest.mark.parametrize("fixed", [False, True])
@pytest.mark.parametrize("frames", [1, 3, 4, 39, 41, 160, 401])
def test_chunks_join_to_the_whole(stem, frames, fixed, monkeypatch):
    mel = noise(1, 128, frames)
    whole = stem(mel)
    assert whole.shape == (1, -(-frames // 4), 64)
    monkeypatch.setitem(SHAPES, "cpu", replace(SHAPES["cuda"], fixed=fixed, chunk=9))
    torch.testing.assert_close(stem.long(mel), whole, atol=2e-5, rtol=0)


def test_fixed_shapes_of_the_stem_do_not_depend_on_the_song(stem, monkeypatch):
    monkeypatch.setitem(SHAPES, "cpu", SHAPES["cuda"])
    shapes, forward = set(), Stem.forward
    monkeypatch.setattr(Stem, "forward", lambda stem, mel, *given: shapes.add(mel.shape) or forward(stem, mel, *given))
    for samples in (5_000, SEGMENT + 4_000):
        song = spectrograms(noise(samples) * 0.1, LogMel())
        segment_tokens(stem, stem.long(song.track), song)
    assert shapes == {(1, 128, 1524), (8, 128, 28)}


def test_memory_format_and_form_do_not_change_the_output():
    plain, tuned = build_stem(untrained("muq"), 128), build_stem(untrained("muq"), 128).tuned()
    mel = noise(1, 128, 90)
    torch.testing.assert_close(tuned(mel), plain(mel), atol=2e-5, rtol=0)


def test_lengths():
    assert segment_lengths(SEGMENT) == (SEGMENT,)
    assert segment_lengths(2 * SEGMENT + 1024) == (SEGMENT, SEGMENT)
    assert segment_lengths(SEGMENT + 1025) == (SEGMENT, 1025)
    assert segment_lengths(5000) == (5000,)
    assert [token_count(samples) for samples in (1025, 1199, 1200, SEGMENT)] == [1, 1, 2, 750]


@pytest.mark.parametrize(
    "samples",
    [1025, SEGMENT, SEGMENT + 1000, SEGMENT + 1025, SEGMENT + 7919, SEGMENT + 7920, 2 * SEGMENT + 1024, 1_494_321],
)
def test_segments_equal_each_segment_alone(stem, samples):
    log_mel, waveform = LogMel(), noise(samples) * 0.1
    song = spectrograms(waveform, log_mel)
    track = stem.long(song.track)
    shared = segment_tokens(stem, track, song)
    alone = [stem.long(log_mel(part[None])) for part in waveform[: sum(song.lengths)].split(song.lengths)]
    # dB without mean and std reach −100 … 40: tolerance for values of that size.
    torch.testing.assert_close(shared, torch.cat(alone, dim=1), atol=2e-3, rtol=0)


def test_scales_share_all_tokens_but_those_at_cuts(stem):
    song = spectrograms(noise(2 * SEGMENT + 5 * SECOND) * 0.1, LogMel())
    track = stem.long(song.track)
    differ = (segment_tokens(stem, track, song) != track).any(dim=-1)[0].nonzero().flatten().tolist()
    assert differ
    assert all(min(abs(token - 749.5), abs(token - 1499.5)) < 4 for token in differ)
