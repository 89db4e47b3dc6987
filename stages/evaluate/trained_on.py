"""Compare the training data of heads with the songs of an evaluation: changed ratings, and songs in both."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from stages.head.checkpoint.ensemble import head_places
from stages.head.checkpoint.layout import PARAMS
from stages.head.data.corpus import Corpus
from stages.head.data.ratings import RATINGS, Ratings, ratings_of, read_ratings
from stages.head.errors import HeadError
from stages.head.files import read_object
from store.files.json_text import brief


@dataclass(frozen=True, kw_only=True)
class TrainedOn:
    """The ratings that a head was trained on, from its run's folder.

    Attributes
    ----------
    digests
        Digests of the ratings, by split; empty if the run did not save them.
    ratings
        The ratings; None for a head without them, such as one from a hub.
    shuffled
        Whether it was trained on shuffled ratings, as a control.
    """

    digests: Mapping[str, str]
    ratings: Ratings | None
    shuffled: bool

    def compare(self, corpus: Corpus, *, split: str, dimensions: Sequence[str]) -> Iterator[str]:
        """Describe overlaps and changed ratings that a reader of the figures should know, one sentence each.

        Parameters
        ----------
        corpus, split, dimensions
            The evaluated songs, and the dimensions of the head.
        """
        if self.shuffled:
            yield "the head was trained on shuffled ratings, as a control: its scores should be at chance"
        elif difference := self._difference(ratings_of(dimensions, **{split: corpus}), split):
            yield f"the songs or ratings of {split} have changed since the head was trained: {difference}"
        training = set(self.ratings.splits.get("train", ())) if self.ratings else set()
        seen = [song for song in corpus.songs if song in training]
        if seen:
            yield (
                f"the head was trained on {len(seen)} of these {len(corpus.songs)} songs, the first is {seen[0]!r}: "
                "the figures do not show how well it scores other songs"
            )

    def _difference(self, now: Ratings, split: str) -> str:
        """Describe how the ratings of a split differ from training; empty if they do not, or if training is unknown."""
        if self.ratings is not None and split in self.ratings.splits:
            return replace(self.ratings, splits={split: self.ratings.splits[split]}).difference(now)
        before, digest = self.digests.get(split), now.digests()[split]
        return f"their digest was {before}, now it is {digest}" if before not in (None, digest) else ""


def read_trained_on(checkpoint: str | Path) -> list[TrainedOn]:
    """Read the training data of a checkpoint's heads from their folders.

    The list is empty for heads without a run's folder on this machine: from a hub, or published files.

    Raises
    ------
    HeadError
        A file of a run cannot be read, or the heads are not complete.
    """
    places = head_places(checkpoint) if Path(checkpoint).is_dir() else []
    return [_read(place) for place in places if (place / PARAMS).is_file()]


def _read(place: Path) -> TrainedOn:
    path = place / PARAMS
    params = read_object(path, what="a run's parameters")
    labels = params.get("labels", {})
    if not isinstance(labels, dict):
        raise HeadError(
            f"{path}: cannot be read as a run's parameters: labels must be an object, found {brief(labels)}"
        )
    digests = {str(split): str(digest) for split, digest in labels.items()}
    shuffled = params.get("shuffle_labels") is True
    ratings = read_ratings(place / RATINGS) if (place / RATINGS).is_file() else None
    return TrainedOn(digests=digests, ratings=ratings, shuffled=shuffled)
