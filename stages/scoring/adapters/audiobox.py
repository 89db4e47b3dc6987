"""Rows in and out as for audiobox-aesthetics: `{"path": …}` → `{"Coherence": …, …}`.

Interface: https://github.com/facebookresearch/audiobox-aesthetics, README, "How to run prediction".
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from numbers import Real
from typing import Any

from stages.scoring.adapters.crop import crop
from stages.scoring.errors import ScoringError
from stages.scoring.rows import SongScore
from stages.scoring.scorer import Scorer


def audiobox_rows(scorer: Scorer, rows: Iterable[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """Score rows as audiobox-aesthetics does: one row out per row in, in order, also for repeated and failed songs.

    Parameters
    ----------
    scorer
        The scorer.
    rows
        `path`: a file, relative to the working directory, or an array or tensor with its `sample_rate` in Hz.
        Optionally `start_time` and `end_time` in seconds. Other keys are ignored. There may be any number of rows.

    Returns
    -------
    iterator of dict
        The score of each dimension, 1 to 5, and `warning` and `caution` if there are any. Only `error` for a song that
        cannot be scored.

    Raises
    ------
    ScoringError
        A row has no path, no rate for its array, or times that are not numbers.

    Examples
    --------
    >>> import hear_music as hear
    >>> from hear_music.adapters import audiobox_rows
    >>> scorer = hear.Scorer.load("models/track2")
    >>> rows = [{"path": "song.mp3"}, {"path": "song.mp3", "start_time": 0, "end_time": 1.5}, {"path": "none.mp3"}]
    >>> [list(row)[0] for row in audiobox_rows(scorer, rows)]
    ['Coherence', 'Coherence', 'error']
    """
    return map(_flat, scorer.score_batch(_song(number, row) for number, row in enumerate(rows, start=1)))


def _song(number: int, row: Mapping[str, Any]) -> Any:
    path, rate = row.get("path"), row.get("sample_rate")
    start, end = row.get("start_time", 0), row.get("end_time", math.inf)
    if path is None or (not isinstance(path, str) and not isinstance(rate, Real)):
        found = ", ".join(row)
        raise ScoringError(f"row {number}: expected a path, or samples and their sample_rate in Hz; found {found}")
    for name, time in {"start_time": start, "end_time": end}.items():
        if isinstance(time, bool) or not isinstance(time, int | float) or not time >= 0:
            raise ScoringError(f"row {number}: {name}: expected seconds, 0 or more; found {time!r}")
    return crop(path, rate or 0, start, end)


def _flat(row: SongScore) -> dict[str, Any]:
    about = {"warning": row.warning, "caution": row.caution, "error": row.error}
    return {**row.scores, **{name: text for name, text in about.items() if text}}
