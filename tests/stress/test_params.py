"""Random YAML, made of pieces of YAML: parameters or a one-line error, quickly."""

import random
import time
from pathlib import Path
from typing import Any

from pipeline.params import ParamsError, load_params
from tests.pipeline.yaml_pieces import YAML_PIECES

# Seconds. A file of the largest allowed size takes one second on an idle machine with two cores.
LONGEST = 20.0
# Too long for each example of a quick test.
LONG = ["9" * 5000, "!!python/name:os.system "]


def text(rng: random.Random) -> str:
    """A few pieces, some of them many times."""
    pieces = [rng.choice(YAML_PIECES + LONG) for _ in range(rng.randrange(1, 40))]
    if not rng.randrange(10):
        pieces.insert(rng.randrange(len(pieces)), rng.choice(YAML_PIECES) * rng.randrange(1, 5000))
    if not rng.randrange(10):
        pieces = ["&a [x]\n", *(f"&a [{'*a,' * 20}]\n" for _ in range(rng.randrange(10))), *pieces]
    return "".join(pieces)


def test_random_yaml(campaign: Any, tmp_path: Path) -> None:
    file = tmp_path / "params.yaml"
    for rng in campaign:
        data = bytearray(text(rng).encode())
        for _ in range(rng.randrange(3)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        file.write_bytes(data)
        begun, problem = time.monotonic(), ""
        try:
            load_params(file)
        except ParamsError as error:
            problem = str(error)
        assert "\n" not in problem
        assert time.monotonic() - begun < LONGEST
        campaign.count("refused" if problem else "read")
