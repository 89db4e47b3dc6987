"""The training options have descriptions, which the commands show as help."""

from dataclasses import fields

from stages.head.config import TrainConfig, descriptions


def test_each_option_has_a_description():
    described = descriptions(TrainConfig)
    assert list(described) == [field.name for field in fields(TrainConfig)]
    assert described["sigma"] == "C-Mixup: bandwidth over the ratings, in rating points."
    assert described["crop"].endswith("only bounds memory, as no song of SongEval is that long.")
