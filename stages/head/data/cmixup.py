"""C-Mixup (arXiv 2210.05775; paper §2.3): mix songs whose ratings are near, never two views of one song.

The partner j of a view of song i is drawn with probability ∝ exp(−‖yᵢ − yⱼ‖² / 2σ²) over all views of all other songs.
All views of a song share its labels, so a song is drawn with that weight times its number of views, then a view
uniformly: the same probabilities, without a table over all pairs of views.
"""

import numpy as np
from numpy.typing import NDArray

# Songs whose weights are held at once, a float64 each to every song: few enough to stay in a core's cache.
ROWS_AT_ONCE = 32


def song_weights(
    labels: NDArray[np.floating], views: NDArray[np.integer], *, sigma: float, rows: NDArray[np.integer]
) -> NDArray[np.float64]:
    """Probability of each song to be the partner of the songs `rows`.

    Parameters
    ----------
    labels
        (N, D) ratings, a row a song.
    views
        (N,) views of each song that can be drawn.
    sigma
        Bandwidth over the label space, in rating points.
    rows
        (R,) songs that look for a partner.

    Returns
    -------
    array
        (R, N) float64; each row sums to 1, and is 0 at the song itself.
    """
    labels = np.asarray(labels, np.float64)
    mine = labels[rows]
    weights = np.zeros((len(rows), len(labels)))
    difference = np.empty_like(weights)
    for d in range(labels.shape[1]):
        np.subtract(mine[:, None, d], labels[None, :, d], out=difference)
        weights -= np.square(difference, out=difference)
    weights[np.arange(len(rows)), rows] = -np.inf
    # Relative to the nearest song: a tiny σ then still finds a partner instead of dividing by 0.
    weights -= weights.max(axis=1, keepdims=True)
    # One σ after the other: the square of a tiny one is 0, and twice a huge one infinite.
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
    labels: NDArray[np.floating],
    views: NDArray[np.integer],
    *,
    sigma: float,
    generator: np.random.Generator,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Draw a partner for each anchor.

    Parameters
    ----------
    anchors
        (A,) songs, one an anchor, with repeats where a song has several views.
    labels, views, sigma
        As for `song_weights`; at least two songs.

    Returns
    -------
    arrays
        (A,) the partners' songs, and (A,) which of that song's views: a position below its number of views.
    """
    partners = np.empty(len(anchors), np.int64)
    draws = generator.random(len(anchors))
    songs, which = np.unique(anchors, return_inverse=True)
    order = np.argsort(which, kind="stable")
    edges = np.searchsorted(which[order], np.arange(len(songs) + 1))
    for start in range(0, len(songs), ROWS_AT_ONCE):
        block = songs[start : start + ROWS_AT_ONCE]
        cumulative = np.cumsum(song_weights(labels, views, sigma=sigma, rows=block), axis=1)
        cumulative /= cumulative[:, -1:]
        for row, line in enumerate(cumulative):
            mine = order[edges[start + row] : edges[start + row + 1]]
            partners[mine] = np.searchsorted(line, draws[mine], side="right")
    view = np.floor(generator.random(len(anchors)) * views[partners]).astype(np.int64)
    return partners, view
