"""Nearest songs as text, CSV and JSON."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from stages.common.csv_text import write_rows
from stages.similarity.errors import SimilarityError
from store.files.replacing import replacing
from store.files.visible import visible

# Pairs in the text; the files hold all.
MOST_SHOWN = 20
ACROSS_SPLITS = (
    "have a near twin among the training songs, so their figures are too good: move each pair into one split, or "
    "remove one of its songs"
)
ACROSS_STORES = "have a near twin in the other store: figures of heads that were trained there are too good for them"
_COLUMNS = ("song_id", "split", "neighbour", "neighbour_split", "similarity", "near_twin")


@dataclass(frozen=True)
class Neighbour:
    """A song, one of its nearest songs, and their cosine; splits are empty where they are not known."""

    song: str
    split: str
    neighbour: str
    neighbour_split: str
    similarity: float


@dataclass(frozen=True)
class Threshold:
    """The cosine from which on two songs count as near twins.

    Attributes
    ----------
    value
        The cosine.
    views_above
        Fraction of the songs whose augmented view is a near twin of their clean view by this threshold; None if the
        store has no such views.
    songs_above
        Fraction of the songs that have a near twin in their own store.
    views
        Number of augmented views that the threshold is from.
    """

    value: float
    views_above: float | None
    songs_above: float
    views: int

    @property
    def line(self) -> str:
        """How the threshold was found, and how many songs are above it."""
        twins = f"{self.songs_above:.1%} of the songs have one in their store"
        if self.views_above is None:
            return (
                f"near twins: similarity of {self.value:.3f} or more, an outlier among the nearest neighbours; {twins}"
            )
        return (
            f"near twins: similarity of {self.value:.3f} or more, which separates views of one song from different "
            f"songs best; {self.views_above:.1%} of {self.views} views are above it, and {twins}"
        )


@dataclass(frozen=True)
class NeighbourReport:
    """The nearest songs of each song, per split, and the threshold for near twins.

    `between_stores`: the songs are those of another store than their neighbours.
    """

    neighbours: tuple[Neighbour, ...]
    threshold: Threshold
    between_stores: bool

    @property
    def twins(self) -> list[Neighbour]:
        """Near twins, most similar first; within one store, each pair once, with a training song last."""
        found: dict[tuple[str, ...], Neighbour] = {}
        for one in sorted(self.neighbours, key=lambda one: one.split == "train"):
            if self._is_twin(one):
                pair = (one.song, one.neighbour)
                found.setdefault(pair if self.between_stores else tuple(sorted(pair)), one)
        return sorted(found.values(), key=lambda one: -one.similarity)

    @property
    def warnings(self) -> list[str]:
        """One line for each group of songs that have near twins among training songs."""
        lines = []
        for split in ("",) if self.between_stores else ("val", "test"):
            of_split = [one for one in self.neighbours if one.split == split and one.neighbour_split in ("", "train")]
            near = {one.song for one in of_split if self._is_twin(one)}
            if near:
                counts = f"{len(near)} of {len({one.song for one in of_split})}"
                lines.append(
                    f"{counts} songs {ACROSS_STORES}" if not split else f"{counts} {split} songs {ACROSS_SPLITS}"
                )
        return lines

    def _is_twin(self, one: Neighbour) -> bool:
        return one.similarity >= self.threshold.value

    def to_text(self) -> str:
        """The threshold, one line per pair of splits, and the nearest of the near twins."""
        groups: dict[tuple[str, str], list[Neighbour]] = {}
        for one in self.neighbours:
            groups.setdefault((one.split, one.neighbour_split), []).append(one)
        lines = [
            self.threshold.line,
            "",
            f"{'songs':10} {'nearest in':10} {'median':>8} {'highest':>8} {'near twins':>11}",
        ]
        for (split, other), group in groups.items():
            cosines = [one.similarity for one in group]
            near = len({one.song for one in group if self._is_twin(one)})
            named = f"{split or 'all':10} {other or 'all':10}"
            lines.append(f"{named} {np.median(cosines):8.3f} {max(cosines):8.3f} {near:11}")
        if twins := self.twins:
            lines += ["", "near twins, most similar first:"]
            lines += [
                f"{one.similarity:.3f}  {_named(one.song, one.split)}  ~  {_named(one.neighbour, one.neighbour_split)}"
                for one in twins[:MOST_SHOWN]
            ]
            if len(twins) > MOST_SHOWN:
                lines.append(f"and {len(twins) - MOST_SHOWN} more; --csv has all")
        return "\n".join(lines)

    def write_csv(self, path: Path) -> None:
        """Columns song_id, split, neighbour, neighbour_split, similarity and near_twin (1 or 0).

        Raises
        ------
        SimilarityError
            The file cannot be written.
        """
        rows = [[*asdict(one).values(), int(self._is_twin(one))] for one in self.neighbours]
        with (
            replacing(path, error=SimilarityError) as partial,
            partial.open("w", encoding="utf-8", newline="") as file,
        ):
            write_rows(file, [_COLUMNS, *rows])

    def to_json(self) -> dict[str, Any]:
        """Threshold, warnings and neighbours as JSON values."""
        return {
            "threshold": asdict(self.threshold),
            "warnings": self.warnings,
            "neighbours": [{**asdict(one), "near_twin": self._is_twin(one)} for one in self.neighbours],
        }


def _named(song: str, split: str) -> str:
    return visible(song) + (f" ({split})" if split else "")
