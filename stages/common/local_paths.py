"""Paths that users mistype: whether a name is meant to be one, and what they may have meant."""

import difflib
import itertools
import os
from pathlib import Path

# Names in one folder that are compared.
MOST_NAMES = 1_000


def is_local(reference: str | Path) -> bool:
    """Whether what looks like a hub id can only be a path: its first part is a folder here."""
    return os.path.isdir(Path(reference).parts[0] if Path(reference).parts else "")  # noqa: PTH112 (raises for no name)


def did_you_mean(path: str | Path) -> str:
    """What a path that does not exist may have meant, `; did you mean models/track2?`; empty if nothing is like it."""
    path = Path(path)
    place = Path(path.anchor)
    for part in path.parts[1 if path.anchor else 0 :]:
        if os.path.exists(place / part):  # noqa: PTH110 - Path.exists raises for names that are too long
            place /= part
            continue
        try:
            names = [entry.name for entry in itertools.islice(place.iterdir(), MOST_NAMES)]
        except OSError:
            return ""
        like = difflib.get_close_matches(part, sorted(names), 1)
        if not like:
            return ""
        place /= like[0]
    return f"; did you mean {place}?"
