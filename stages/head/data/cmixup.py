"""C-Mixup (arXiv 2210.05775; paper §2.3): mix songs with similar ratings, never two views of one song.

The partner j of a view of song i is drawn with probability ∝ exp(−‖yᵢ − yⱼ‖² / 2σ²) over all views of all other songs.
All views of a song share its ratings. So a song is drawn with that weight times its number of views, then one of its
views uniformly: the same probabilities, without a table over all pairs of views.
"""

import numpy as np
from numpy.typing import NDArray

# Songs whose weights are computed at once, one float64 per pair of songs: few enough to fit a core's cache.
ROWS_AT_ONCE = 32


def song_weights(
    ratings: NDArray[np.floating], views: NDArray[np.integer], *, sigma: float, rows: NDArray[np.integer]
) -> NDArray[np.float64]:
    """Probability of each song as a partner of the songs `rows`.

    Parameters
    ----------
    ratings
        (N, D), one row per song.
    views
        (N,) views of each song that can be drawn.
    sigma
        Bandwidth over the ratings, in rating points.
    rows
        (R,) songs that need a partner.

    Returns
    -------
    array
        (R, N) float64; each row sums to 1, and is 0 at the song itself.
    """
    ratings = np.asarray(ratings, np.float64)
    own = ratings[rows]
    weights = np.zeros((len(rows), len(ratings)))
    difference = np.empty_like(weights)
    for d in range(ratings.shape[1]):
        np.subtract(own[:, None, d], ratings[None, :, d], out=difference)
        weights -= np.square(difference, out=difference)
    weights[np.arange(len(rows)), rows] = -np.inf
    # Relative to the nearest song: so a tiny σ still finds a partner instead of dividing by 0.
    weights -= weights.max(axis=1, keepdims=True)
    # Divide by σ twice: the square of a tiny σ is 0, and that of a huge one infinite.
    with np.errstate(over="ignore"):
        weights /= sigma
        weights /= sigma
    weights /= 2
    weights += np.log(views)
    np.exp(weights, out=weights)
    weights /= weights.sum(axis=1, keepdims=True)
    return weights


def draw_partners(
    anchors: NDArray[np.integer],
    ratings: NDArray[np.floating],
    views: NDArray[np.integer],
    *,
    sigma: float,
    generator: np.random.Generator,
    drawn: NDArray[np.integer] | None = None,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Draw a partner for each anchor.

    Parameters
    ----------
    anchors
        (A,) the song of each anchor; a song with several views occurs several times.
    ratings, views, sigma
        As for `song_weights`; at least two songs.
    drawn
        (N,) for each song, how many of its first views can be drawn; `views` if None. It does not change the songs.

    Returns
    -------
    arrays
        (A,) the song of each partner, and (A,) the position of its view among that song's views.
    """
    partners = np.empty(len(anchors), np.int64)
    draws = generator.random(len(anchors))
    songs, which = np.unique(anchors, return_inverse=True)
    order = np.argsort(which, kind="stable")
    edges = np.searchsorted(which[order], np.arange(len(songs) + 1))
    for start in range(0, len(songs), ROWS_AT_ONCE):
        block = songs[start : start + ROWS_AT_ONCE]
        cumulative = np.cumsum(song_weights(ratings, views, sigma=sigma, rows=block), axis=1)
        cumulative /= cumulative[:, -1:]
        for row, line in enumerate(cumulative):
            anchors_of_row = order[edges[start + row] : edges[start + row + 1]]
            partners[anchors_of_row] = np.searchsorted(line, draws[anchors_of_row], side="right")
    choices = views if drawn is None else drawn
    view = np.floor(generator.random(len(anchors)) * choices[partners]).astype(np.int64)
    return partners, view
