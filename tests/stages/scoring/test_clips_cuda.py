"""Tensors on a GPU score like the same samples in main memory."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from stages.extract.encoders import MultiScale
from stages.head.checkpoint.ensemble import Ensemble
from stages.head.checkpoint.head import Head
from stages.scoring.scorer import Scorer
from stages.scoring.sources.audio import AudioSource

RATE = 24_000
pytestmark = pytest.mark.cuda


def test_a_tensor_on_a_gpu(encoders: MultiScale, make_head: Callable[..., Head]) -> None:
    ensemble = Ensemble([make_head(0)])
    scorer = Scorer(ensemble, AudioSource(encoders, ensemble, threads=1))
    samples = torch.from_numpy(np.random.default_rng(0).normal(0, 0.1, (2, RATE)).astype(np.float32))
    assert scorer.score(samples.cuda().requires_grad_(), RATE) == scorer.score(samples, RATE)
