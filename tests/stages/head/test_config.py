"""The training options are checked, and have descriptions, which the commands show as help."""

from dataclasses import fields
from typing import Any

import pytest

from stages.head.config import TrainConfig, descriptions
from stages.head.errors import HeadError


def test_each_option_has_a_description():
    described = descriptions(TrainConfig)
    assert list(described) == [field.name for field in fields(TrainConfig)]
    assert described["sigma"] == "C-Mixup: bandwidth over the ratings, in rating points."
    assert described["crop"].endswith("only bounds memory, as no song of SongEval is that long.")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"size": "huge"}, "size: expected paper or small, found 'huge'"),
        ({"learning_rate": -1}, "learning_rate: expected above 0, found -1"),
        ({"crop": float("nan")}, "crop: expected above 0, found nan"),
        ({"batch_size": 1}, "batch_size: expected at least 2, found 1"),
        ({"seed": 2**63}, "seed: expected at most 9223372036854775807"),
    ],
)
def test_a_wrong_value_is_named(wrong: dict[str, Any], message: str):
    with pytest.raises(HeadError, match=message):
        TrainConfig(**wrong)
