"""How far raters agree, and so how well any score can agree with their mean.

Ratings are rating = mean + song + rater + rest, with random songs and raters (McGraw and Wong 1996, case 2). The
variances of the three come from the sums of squares of songs and raters (Henderson 1953, method 1), which is the
two-way analysis of variance where all raters rated all songs, and holds where ratings are missing.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stages.metrics.agreement import Array, srcc
from stages.metrics.bootstrap import interval
from stages.metrics.resampling import DRAWS, drawn_counts

Figures = NDArray[np.float64]
# A rater with fewer songs has no meaningful correlation with the others.
FEWEST_SONGS = 5


@dataclass(frozen=True, kw_only=True)
class RaterAgreement:
    """Agreement of raters on one dimension; intervals are at 95 %, percentile bootstrap over songs.

    Attributes
    ----------
    songs, raters, per_song
        Songs with two ratings or more, different raters, and mean number of ratings per song.
    icc, icc_interval
        ICC(2,1): the share of a single rating's variance that is the song's.
    icc_mean, icc_mean_interval
        ICC(2,k): the same share for the mean of k raters, k = `per_song`.
    alpha, alpha_interval
        Krippendorff's alpha for interval data.
    ceiling, ceiling_interval
        The correlation of the mean rating with the mean of infinitely many raters: no score can be expected to have a
        higher LCC with the mean rating. A rater's constant strictness does not lower it.
    rater_srcc
        SRCC of one rater with the mean of the others, mean over raters: a human's figure. None if no rater has
        `FEWEST_SONGS` songs.
    """

    songs: int
    raters: int
    per_song: float
    icc: float
    icc_interval: tuple[float, float]
    icc_mean: float
    icc_mean_interval: tuple[float, float]
    alpha: float
    alpha_interval: tuple[float, float]
    ceiling: float
    ceiling_interval: tuple[float, float]
    rater_srcc: float | None


def rater_agreement(ratings: Array, *, draws: int = DRAWS, seed: int = 0) -> RaterAgreement | None:
    """Measure the agreement of raters.

    Parameters
    ----------
    ratings
        (songs, raters), NaN where a rater did not rate a song. Songs with fewer than two ratings are left out.
    draws
        Bootstrap samples.

    Returns
    -------
    RaterAgreement or None
        None for fewer than two songs with two ratings, or if all ratings are equal.
    """
    ratings = np.asarray(ratings, np.float64)
    ratings = ratings[np.isfinite(ratings).sum(axis=1) > 1]
    ratings = ratings[:, np.isfinite(ratings).any(axis=0)]
    if len(ratings) < 2 or np.nanmax(ratings) == np.nanmin(ratings):
        return None
    found = _figures(np.ones((1, len(ratings))), ratings)[0]
    parts = [_figures(counts, ratings) for counts in drawn_counts(len(ratings), draws=draws, seed=seed)]
    ends = [interval(values[np.isfinite(values)]) for values in np.concatenate(parts).T]
    icc, icc_mean, alpha, ceiling = map(float, found)
    return RaterAgreement(
        songs=len(ratings), raters=ratings.shape[1], per_song=float(np.isfinite(ratings).sum(axis=1).mean()),
        icc=icc, icc_interval=ends[0], icc_mean=icc_mean, icc_mean_interval=ends[1],
        alpha=alpha, alpha_interval=ends[2], ceiling=ceiling, ceiling_interval=ends[3],
        rater_srcc=_rater_srcc(ratings),
    )  # fmt: skip


def _figures(counts: Figures, ratings: Array) -> Figures:
    """ICC(2,1), ICC(2,k), alpha and the ceiling, (K, 4), over K bootstrap samples given as counts (K, songs)."""
    rated = np.isfinite(ratings)
    values, number = np.where(rated, ratings - np.nanmean(ratings), 0.0), rated.sum(axis=1)
    sums, squares = values.sum(axis=1), (values**2).sum(axis=1)
    ratings_in, songs = counts @ number, counts.sum(axis=1)
    # One row of raters' sums and numbers per sample.
    by_rater, rated_by = counts @ values, counts @ rated.astype(np.float64)
    total = counts @ squares
    of_songs, of_mean = counts @ (sums**2 / number), (counts @ sums) ** 2 / ratings_in
    of_raters = np.divide(by_rater**2, rated_by, out=np.zeros_like(by_rater), where=rated_by > 0).sum(axis=1)
    song, rater, rest = _components(
        (total - of_mean, of_songs - of_mean, of_raters - of_mean), ratings_in, songs, counts @ number**2,
        rated_by, np.count_nonzero(rated_by, axis=1),
    )  # fmt: skip
    means = sums / number
    spread = (counts @ means**2 - (counts @ means) ** 2 / songs) / np.maximum(songs - 1, 1)
    within, pooled = counts @ ((squares - sums**2 / number) * number / (number - 1)), total - of_mean
    with np.errstate(divide="ignore", invalid="ignore"):
        single = song / (song + rater + rest)
        mean = song / (song + (rater + rest) * songs / ratings_in)
        alpha = 1 - (within / ratings_in) / (pooled / (ratings_in - 1))
        ceiling = np.sqrt(np.clip(song / spread, 0.0, 1.0))
    return np.stack([single, mean, alpha, ceiling], axis=1)


def _components(
    sums: tuple[Figures, Figures, Figures], ratings: Figures, songs: Figures, squared: Figures, rated_by: Figures,
    raters: Figures,
) -> tuple[Figures, Figures, Figures]:  # fmt: skip
    """Variances of songs, raters and the rest: the sums of squares equal their expectations, three equations each."""
    total, of_songs, of_raters = sums
    song_share, rater_share = squared / ratings, (rated_by**2).sum(axis=1) / ratings
    one = np.ones_like(ratings)
    matrix = np.stack(
        [
            np.stack([ratings - song_share, ratings - rater_share, ratings - one], axis=-1),
            np.stack([ratings - song_share, songs - rater_share, songs - one], axis=-1),
            np.stack([raters - song_share, ratings - rater_share, raters - one], axis=-1),
        ],
        axis=1,
    )
    # A pseudo-inverse: a sample with only one song, or raters with one song each, leave fewer than three equations.
    solved = (np.linalg.pinv(matrix) @ np.stack([total, of_songs, of_raters], axis=-1)[..., None])[..., 0]
    return solved[:, 0], solved[:, 1], solved[:, 2]


def _rater_srcc(ratings: Array) -> float | None:
    """SRCC of each rater with the mean of the others on the same songs, weighted by songs."""
    rated = np.isfinite(ratings)
    found, songs = [], []
    for rater in np.flatnonzero(rated.sum(axis=0) >= FEWEST_SONGS):
        own = ratings[rated[:, rater]]
        found.append(srcc(own[:, rater], np.nanmean(np.delete(own, rater, axis=1), axis=1)))
        songs.append(len(own))
    return float(np.average(found, weights=songs)) if found else None
