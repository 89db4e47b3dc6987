"""The part of a manifest that one of several independent runs extracts, as in an array job."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from stages.songs import Song
from store.format.keys import song_key


@dataclass(frozen=True)
class Shard:
    """Part `number` of `count` parts of a manifest; numbers start at 1."""

    number: int
    count: int

    @classmethod
    def parse(cls, text: str) -> "Shard":
        """Read `i/n`.

        Raises
        ------
        ValueError
            The text is not two numbers with 1 ≤ i ≤ n.
        """
        parts = re.fullmatch(r"([0-9]+)/([0-9]+)", text)
        number, count = map(int, parts.groups()) if parts else (0, 0)
        if not 1 <= number <= count:
            raise ValueError(
                f"expected i/n with i from 1 to n, such as 1/8, found {text!r}; add 1 to a job's index from 0"
            )
        return cls(number, count)

    def __str__(self) -> str:
        """As a part of a file's name."""
        return f"{self.number}-of-{self.count}"

    def songs(self, songs: Sequence[Song]) -> tuple[Song, ...]:
        """This part of the songs, in their order.

        The parts have the same number of songs of each split (±1), because only training songs are augmented. They do
        not depend on what is stored, so parts never overlap. The digest of the id decides, not the place in the
        manifest: neighbours there are often alike, and the parts stay the same if its rows are sorted in another way.
        """
        ordered = sorted(songs, key=lambda song: (song.split, song_key(song.song_id)))
        chosen = {song.song_id for song in ordered[self.number - 1 :: self.count]}
        return tuple(song for song in songs if song.song_id in chosen)
