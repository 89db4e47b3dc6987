"""Random YAML, made of pieces of YAML: parameters or a one-line error, quickly."""

import random
import time
from pathlib import Path
from typing import Any

from pipeline.params import ParamsError, load_params

# A file of the largest allowed size takes a second on an idle machine with two cores.
LONGEST = 20.0
WORDS = [
    "head",
    "demo",
    "seed",
    "beta",
    "layers",
    "device",
    "<<",
    "a",
    "1",
    "-0.5",
    "1:30",
    "0x1f",
    ".inf",
    "null",
    "'b'",
]
MARKS = [
    ": ",
    "\n",
    "\n  ",
    "- ",
    "? ",
    ", ",
    "[",
    "]",
    "{",
    "}",
    "&a ",
    "*a",
    "!!int ",
    "!!python/name:os.system ",
    "|\n ",
]
ODD = ["\0", "\x1b[2J", "\u202e", "\ufeff", "\t", "\r", "%TAG ! x\n", "--- ", "9" * 5000, '"\\x1b"', "# c\n"]


def text(rng: random.Random) -> str:
    """A few pieces, some of them repeated."""
    pieces = [rng.choice(rng.choice([WORDS, MARKS, ODD])) for _ in range(rng.randrange(1, 40))]
    if not rng.randrange(10):
        pieces.insert(rng.randrange(len(pieces)), rng.choice(WORDS + MARKS) * rng.randrange(1, 5000))
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
