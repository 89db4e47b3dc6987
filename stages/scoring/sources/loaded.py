"""A song that is ready to be scored, and what loads it."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from stages.scoring.beside.companions import Companions
from stages.scoring.inputs import InputSong


@dataclass(frozen=True, kw_only=True)
class LoadedSong:
    """A song that is ready to be scored, or the reason why it is not.

    Attributes
    ----------
    song, source
        The song, and the hash of its file.
    frames
        (S, T, C) of the ensemble's streams, then those of models beside it; None if loading failed or was skipped.
    samples
        Mono float32 (n,) at 24 kHz, if a model beside the ensemble needs them and they are at hand.
    error
        Why loading failed.
    seconds
        Duration of the song.
    damage
        The parts of its file that could not be read; see `Waveform`.
    too_long
        Whether the error is that the song is longer than allowed.
    loudest
        Level of its loudest second in dBFS; None if unknown, as in stores made before this was recorded.
    outline
        (2, P) float32: the lowest and highest sample in each of P equal parts; None from a store.
    """

    song: InputSong
    source: str = ""
    frames: NDArray[np.floating] | None = None
    samples: NDArray[np.float32] | None = None
    error: str = ""
    seconds: float | None = None
    damage: Mapping[str, Any] = field(default_factory=dict)
    too_long: bool = False
    loudest: float | None = None
    outline: NDArray[np.float32] | None = None


# Whether a song, with this hash of its file, has its scores already and need not be loaded.
IsScored = Callable[[InputSong, str], bool]


class Source(Protocol):
    """Loads songs in order; a song that cannot be loaded is a `LoadedSong` with an error.

    Attributes
    ----------
    frame_rate
        Frames per second.
    identity
        Everything about the source that affects the scores.
    beside, streams
        The models that score beside the ensemble, and the streams of a loaded song's frames.
    batch_frames
        Songs are scored together until they have this many frames; 1 scores each on its own.
    """

    beside: Companions
    streams: tuple[str, ...]
    frame_rate: float
    identity: dict[str, Any]
    batch_frames: int

    def load(self, songs: Iterable[InputSong], is_scored: IsScored) -> Iterator[LoadedSong]:
        """Load each song, except those that are scored already."""
        ...
