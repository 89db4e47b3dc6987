"""Random JSON with random bytes changed: a value or a `JsonError`."""

import json
import random
from typing import Any

from store.files.json_text import JsonError, parse_json


def value(rng: random.Random, depth: int = 0) -> Any:
    """A random JSON value."""
    kind = rng.randrange(7 if depth < 4 else 5)
    if kind == 5:
        return [value(rng, depth + 1) for _ in range(rng.randrange(4))]
    if kind == 6:
        return {chr(rng.randrange(32, 1000)): value(rng, depth + 1) for _ in range(rng.randrange(4))}
    return [None, True, rng.randrange(-(10**20), 10**20), rng.gauss(0, 1e9), "ä\x00\u2028"][kind]


def test_changed_json(campaign: Any) -> None:
    for rng in campaign:
        data = bytearray(json.dumps(value(rng)).encode())
        for _ in range(rng.randrange(4)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        if not rng.randrange(20):
            data[:0] = rng.choice([b"[", b'{"a":', b"9", b"-", b"1e"]) * rng.randrange(1, 100_000)
        try:
            parse_json(bytes(data))
            campaign.count("read")
        except JsonError:
            campaign.count("refused")
