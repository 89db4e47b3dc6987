"""What heads were trained on, compared with the songs that they are evaluated on: other ratings, and songs in both."""

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
    """What a run's folder says of the ratings that made its head.

    Attributes
    ----------
    digests
        Of the ratings, by split; empty where the run did not keep them.
    ratings
        The ratings themselves; None for a head that came without them, as from a hub.
    shuffled
        Whether it learned shuffled labels, as a control.
    """

    digests: Mapping[str, str]
    ratings: Ratings | None
    shuffled: bool

    def compare(self, corpus: Corpus, *, split: str, dimensions: Sequence[str]) -> Iterator[str]:
        """What a reader of the figures of these songs should know, one sentence each.

        Parameters
        ----------
        corpus, split, dimensions
            The songs that are evaluated, and the dimensions of the head.
        """
        if self.shuffled:
            yield "the head was trained on shuffled labels, as a control: it should fail"
        elif difference := self._difference(ratings_of(dimensions, **{split: corpus}), split):
            yield f"the songs or ratings of {split} are not those of the head's training: {difference}"
        learned = set(self.ratings.splits.get("train", ())) if self.ratings else set()
        seen = [song for song in corpus.songs if song in learned]
        if seen:
            yield (
                f"the head was trained on {len(seen)} of these {len(corpus.songs)} songs, the first is {seen[0]!r}: "
                "the figures do not tell how well it scores others"
            )

    def _difference(self, now: Ratings, split: str) -> str:
        """How the ratings of a split were in training; empty if they were the same, or are not known."""
        if self.ratings is not None and split in self.ratings.splits:
            return replace(self.ratings, splits={split: self.ratings.splits[split]}).difference(now)
        before, digest = self.digests.get(split), now.digests()[split]
        return f"their digest was {before}, now it is {digest}" if before not in (None, digest) else ""


def read_trained_on(checkpoint: str | Path) -> list[TrainedOn]:
    """Read what the folders of a checkpoint's heads say of their training.

    Nothing, for a head that has no run's folder on this machine: one of a hub, or a published file.

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
