"""The challenge's two tracks: which dimensions each scores, and the paper's weight of the ranking loss (§3.1)."""

from stages.songs import DIMENSIONS

TRACK_DIMENSIONS: dict[int, tuple[str, ...]] = {1: ("Musicality",), 2: DIMENSIONS}
TRACK_BETA = {1: 0.15, 2: 0.05}
