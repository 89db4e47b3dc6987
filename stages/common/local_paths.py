"""Mistyped local paths: distinguishing them from hub ids, and suggesting the correct path."""

import difflib
import itertools
import os
from pathlib import Path

# Names that are compared per folder.
MOST_NAMES = 1_000


def is_local(reference: str | Path) -> bool:
    """Whether a name in the form of a hub id is a local path: its first part is an existing folder."""
    return os.path.isdir(Path(reference).parts[0] if Path(reference).parts else "")  # noqa: PTH112 (raises for no name)


def did_you_mean(path: str | Path) -> str:
    """A suggestion for a path that does not exist, `; did you mean models/track2?`; empty if no name is similar."""
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
