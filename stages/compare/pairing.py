"""Which songs of two systems belong together: the same id, or the same id below each system's own folder."""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

# Fewer matches, relative to the smaller system, are taken for chance.
ENOUGH = 0.5


class Pairs(NamedTuple):
    """Positions of the pairs in the first and the second system, and how they matched; none if they did not."""

    first: list[int]
    second: list[int]
    how: str


def match(first: Sequence[str], second: Sequence[str]) -> Pairs:
    """Match song ids: as they are, or else without their first folder (`modelA/song1` and `modelB/song1`).

    An id that a system has twice matches nothing. Fewer matches than `ENOUGH` give no pairs.
    """
    for how, key in (("song id", _whole), ("song id below the system's folder", _below)):
        left, right = _positions([key(name) for name in first]), _positions([key(name) for name in second])
        shared = [name for name in left if name in right]
        if shared and len(shared) >= ENOUGH * min(len(first), len(second)):
            return Pairs([left[name] for name in shared], [right[name] for name in shared], how)
    return Pairs([], [], "")


def _positions(names: Sequence[str]) -> dict[str, int]:
    counts = Counter(names)
    return {name: number for number, name in enumerate(names) if name and counts[name] == 1}


def _whole(name: str) -> str:
    return name


def _below(name: str) -> str:
    """The id without its first folder; ids without a folder stay as they are."""
    return name.partition("/")[2] or name
