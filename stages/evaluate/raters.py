"""The agreement of the raters of an evaluation's songs: the ceiling for any head."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from stages.metrics.raters import RaterAgreement, rater_agreement
from stages.metrics.resampling import DRAWS
from stages.songs import SongsError
from stages.songs.songeval import read_raters


def agreement_of_raters(
    path: str | Path, songs: Sequence[str], *, dimensions: Sequence[str], draws: int = DRAWS
) -> dict[str, RaterAgreement]:
    """How far the raters of these songs agree, by dimension, without dimensions where it is unknown.

    Parameters
    ----------
    path
        SongEval's `metadata.jsonl`.
    songs
        Ids of the evaluated songs; those that the file lacks are left out.
    draws
        Bootstrap samples.

    Raises
    ------
    SongsError
        The file cannot be read, or has none of the songs.
    """
    ratings = read_raters(path)
    listed = [ratings[song] for song in songs if song in ratings]
    if not listed:
        raise SongsError(f"{path}: has none of the {len(songs)} songs, the first is {songs[0]!r}; use their own file")
    raters = sorted({name for song in listed for name in song})
    found: dict[str, RaterAgreement] = {}
    for dimension in dimensions:
        rows = [[song.get(name, {}).get(dimension, np.nan) for name in raters] for song in listed]
        if (agreement := rater_agreement(np.array(rows), draws=draws)) is not None:
            found[dimension] = agreement
    return found


def raters_text(agreement: Mapping[str, RaterAgreement]) -> list[str]:
    """A table: one line per dimension, and a legend."""
    first = next(iter(agreement.values()))
    columns = ("ICC(2,1)", "ICC(2,k)", "alpha", "ceiling of LCC")
    about = f"raters, {first.songs} songs"
    lines = [f"{about:18}" + "".join(f"{name:>20}" for name in columns) + f"{'rater SRCC':>12}"]
    for name, each in agreement.items():
        figures = (
            (each.icc, each.icc_interval), (each.icc_mean, each.icc_mean_interval), (each.alpha, each.alpha_interval),
            (each.ceiling, each.ceiling_interval),
        )  # fmt: skip
        cells = "".join(f"{value:z7.2f} [{low:z4.2f}, {high:z4.2f}]".rjust(20) for value, (low, high) in figures)
        human = "" if each.rater_srcc is None else f"{each.rater_srcc:z12.2f}"
        lines.append(f"{name:18}{cells}{human}")
    return [
        *lines,
        f"k = {first.per_song:.1f} ratings per song, {first.raters} raters; "
        "rater SRCC: one rater with the mean of the others;",
        "ceiling: LCC of the mean rating with the mean of infinitely many raters",
    ]
