"""Devices that a name may mean."""

import pytest

from stages.head.device import pick_device
from stages.head.errors import HeadError


@pytest.mark.parametrize("name", ["tpu", "meta", "cuda:99", "cpu:x", ""])
def test_what_cannot_compute_here_is_refused(name: str) -> None:
    with pytest.raises(HeadError, match=rf"device '{name}' cannot be used here: .*; try auto or cpu"):
        pick_device(name)


def test_auto_is_a_device_that_computes() -> None:
    assert pick_device("auto").type in ("cpu", "cuda")
    assert pick_device("cpu").type == "cpu"
