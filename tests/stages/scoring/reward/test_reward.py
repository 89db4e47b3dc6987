"""The reward of a song: its value, its flags, and the summary of a batch."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from stages.extract.encoders import MultiScale
from stages.head.checkpoint.ensemble import Ensemble
from stages.head.checkpoint.head import Head
from stages.scoring.errors import ScoringError
from stages.scoring.reward.reward import Reward
from stages.scoring.reward.value import RewardValue
from stages.scoring.rows import SongScore
from stages.scoring.scorer import Scorer
from stages.scoring.sources.audio import AudioSource

RATE = 24_000
# Of a head on untrained encoders.
DEMO = ("caution",)
WEIGHTS = {"Musicality": 3.0, "Clarity": 1.0}


@pytest.fixture(scope="module")
def scorer(encoders: MultiScale, make_head: Callable[..., Head]) -> Scorer:
    ensemble = Ensemble([make_head(0)])
    return Scorer(ensemble, AudioSource(encoders, ensemble))


def take(seed: int = 0, *, seconds: float = 1.0, level: float = 0.1) -> Any:
    return np.random.default_rng(seed).standard_normal(round(seconds * RATE)).astype(np.float32) * level


def test_the_value_is_the_weighted_mean_of_the_scores(scorer: Scorer) -> None:
    found = Reward(scorer, WEIGHTS)(take(), RATE)
    assert found.value == pytest.approx((3 * found.scores["Musicality"] + found.scores["Clarity"]) / 4)
    equal = Reward(scorer)(take(), RATE)
    assert equal.value == pytest.approx(np.mean(list(equal.scores.values())))
    assert (found.seconds, found.flags, found.error, found.is_silence) == (1.0, DEMO, "", False)
    assert found.scores == scorer.score(take(), RATE).scores


def test_a_batch_equals_single_songs_and_may_be_endless(scorer: Scorer) -> None:
    def songs() -> Any:
        seed = 0
        while True:
            yield take(seed, seconds=0.5 + seed / 10)
            seed += 1

    reward = Reward(scorer, WEIGHTS)
    found = [value for value, _ in zip(reward.batch(songs(), RATE), range(3), strict=False)]
    assert [one.value for one in found] == [
        reward(take(seed, seconds=0.5 + seed / 10), RATE).value for seed in range(3)
    ]


def test_silence_is_worth_the_lowest_score_whatever_the_head_says(scorer: Scorer) -> None:
    silent = take(level=1e-6)
    found = Reward(scorer)(silent, RATE)
    assert found.scores["Clarity"] > 1.1
    assert (found.value, found.flags) == (1.0, ("silence", *DEMO))
    assert Reward(scorer, silent=-2.0)(silent, RATE).value == -2.0
    kept = Reward(scorer, silent=None)(silent, RATE)
    assert kept.value == pytest.approx(np.mean(list(kept.scores.values())))
    assert kept.is_silence


def test_a_song_that_fails_raises_unless_it_is_given_a_value(scorer: Scorer) -> None:
    songs = [take(), take()[:10], np.full(RATE, np.nan, np.float32)]
    with pytest.raises(ScoringError, match=r"^clip-2: .*; set failed= to give such songs a value$"):
        list(Reward(scorer).batch(songs, RATE))
    values = list(Reward(scorer, failed=1.0).batch(songs, RATE))
    assert [one.value for one in values[1:]] == [1.0, 1.0]
    assert [one.flags for one in values] == [DEMO, ("failed",), ("failed",)]
    assert values[1].scores == {}
    assert values[1].error


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"Musicalty": 1.0}, r"^weights: 'Musicalty' is not scored; expected one or more of Coherence, Musicality"),
        ({"Clarity": -1.0}, "expected a finite number of 0 or more for Clarity, found -1.0"),
        ({"Clarity": math.nan}, "expected a finite number of 0 or more for Clarity, found nan"),
        ({"Clarity": 0.0}, "weights: expected a finite sum above 0, found 0"),
        ({}, "weights: expected a finite sum above 0, found 0"),
        ({"Clarity": 1e308, "Musicality": 1e308}, "weights: expected a finite sum above 0, found inf"),
    ],
)
def test_wrong_weights_are_refused_at_once(scorer: Scorer, weights: dict[str, float], message: str) -> None:
    with pytest.raises(ScoringError, match=message):
        Reward(scorer, weights)


@pytest.mark.parametrize("options", [{"failed": math.nan}, {"silent": math.inf}])
def test_no_value_is_ever_nan_or_infinite(scorer: Scorer, options: dict[str, float]) -> None:
    with pytest.raises(ScoringError, match="expected a finite number or None"):
        Reward(scorer, **options)


def test_every_reason_for_doubt_is_a_flag() -> None:
    row = SongScore(
        song_id="a",
        path="",
        scores={"Clarity": 2.0},
        novelty=1.5,
        loudest=-100.0,
        damage={"skipped": 2},
        caution="demo",
    )
    assert RewardValue(1.0, row).flags == ("silence", "damaged", "novel", "caution")
    assert repr(RewardValue(1.0, row)) == "<RewardValue 1.00 (silence, damaged, novel, caution)>"


def test_the_summary_of_a_batch() -> None:
    def value(number: float, **about: Any) -> RewardValue:
        return RewardValue(number, SongScore(song_id="a", path="", **about))

    values = [
        value(4.0, scores={"Clarity": 4.0}, novelty=1.5, loudest=-6.0, seconds=10.0),
        value(2.0, scores={"Clarity": 2.0}, novelty=0.5, loudest=-10.0, seconds=30.0),
        value(1.0, scores={"Clarity": 3.0}, loudest=-110.0),
        value(1.0, error="is too short"),
    ]
    assert Reward.summary(iter(values)) == pytest.approx(
        {
            "value": 2.0,
            "value_std": 1.5**0.5,
            "Clarity": 3.0,
            "novelty": 1.0,
            "loudest_dbfs": -42.0,
            "seconds": 20.0,
            "flagged": 0.75,
            "flagged_failed": 0.25,
            "flagged_silence": 0.25,
            "flagged_damaged": 0.0,
            "flagged_novel": 0.25,
            "flagged_caution": 0.0,
        }
    )
    assert Reward.summary([]) == {}
