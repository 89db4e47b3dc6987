"""Where a song's frames come from: audio through the encoders, or a store."""

from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from stages.common.processes import Processes
from stages.extract.audio.loudness import loudest_second
from stages.extract.audio.reading import SAMPLE_RATE
from stages.extract.audio.source import source_hash
from stages.extract.audio.waveform import damage_of
from stages.extract.run import average_frames
from stages.extract.views.feed import FailedView, ViewRequest, prepare_in
from stages.head.checkpoint.ensemble import Ensemble
from stages.head.checkpoint.head import FRAMES_AT_ONCE
from stages.head.checkpoint.score import check_encoders, check_spec, stream_rows
from stages.scoring.deadline import Deadline
from stages.scoring.inputs import Candidate
from store import EmbeddingStore
from store.catalogue import seconds_of
from store.errors import HearError

if TYPE_CHECKING:
    from stages.extract.encoders import MultiScale

# Points of a waveform's outline: one a pixel of the plot.
OUTLINE_POINTS = 1_200


@dataclass(frozen=True, kw_only=True)
class Heard:
    """A song ready to be scored, or the reason why it is not.

    Attributes
    ----------
    candidate, source
        Which song, and the hash of its file.
    frames
        (S, T, C) of the ensemble's streams; None where `error` says why, or where the song is known already.
    seconds
        Its duration.
    damage
        What of its file could not be heard; see `Waveform`.
    too_long
        Whether the error is that the song is longer than allowed.
    loudest
        Level of its loudest second in dBFS; None where unknown, as in stores made before this was written down.
    outline
        (2, P) float32: the lowest and highest sample in each of P equal parts; None from a store.
    """

    candidate: Candidate
    source: str = ""
    frames: NDArray[np.floating] | None = None
    error: str = ""
    seconds: float | None = None
    damage: Mapping[str, Any] = field(default_factory=dict)
    too_long: bool = False
    loudest: float | None = None
    outline: NDArray[np.float32] | None = None


# Whether a song, with this hash of its file, is known already and need not be heard.
Known = Callable[[Candidate, str], bool]


class Source(Protocol):
    """Gives songs in order; a song that cannot be had is a `Heard` with an error."""

    frame_rate: float
    identity: dict[str, Any]
    # Songs are scored together up to so many frames: 1 where hearing takes longer than scoring.
    together: int

    def stream(self, candidates: Sequence[Candidate], known: Known) -> Iterator[Heard]:
        """Go through the songs."""
        ...


class AudioSource:
    """Decodes ahead in processes that can be ended, and encodes, one song at a time.

    Parameters
    ----------
    encoders
        With all streams that the ensemble wants.
    ensemble
        Whose streams to give.
    threads
        Songs that are decoded ahead, each in a process.
    longest
        Refuse songs of more seconds than this, or of more samples than so much audio has.

    Attributes
    ----------
    deadline
        When decoding a song is ended; None leaves it to the file's size.

    Raises
    ------
    HeadError
        The encoders are not those that a head was trained on.
    """

    together = 1

    def __init__(
        self,
        encoders: "MultiScale",
        ensemble: Ensemble,
        *,
        threads: int = 2,
        longest: float | None = None,
    ) -> None:
        for head in ensemble.heads:
            check_encoders(head, encoders)
        self.deadline: Deadline | None = None
        self._longest = longest
        self._processes = Processes(threads)
        self.encoders, self.threads = encoders, threads
        self.pool = ensemble.pool
        self.frame_rate = encoders.frame_rate / self.pool
        self.identity = {"encoders": encoders.hashes, "precision": encoders.precision, "pool": self.pool}
        self._rows = stream_rows(ensemble.streams, encoders.streams, encoders.layers)

    def stream(self, candidates: Sequence[Candidate], known: Known) -> Iterator[Heard]:
        """Go through the songs."""
        pending: deque[Future[Heard | _Samples]] = deque()
        with ThreadPoolExecutor(self.threads, thread_name_prefix="decode") as threads:
            try:
                for candidate in candidates:
                    pending.append(threads.submit(self._decode, candidate, known))
                    if len(pending) > self.threads:
                        yield self._encode(pending.popleft().result())
                while pending:
                    yield self._encode(pending.popleft().result())
            finally:
                # Whoever stops listening, or Ctrl-C, need not wait for songs that nobody wants.
                if pending:
                    threads.shutdown(wait=False, cancel_futures=True)
                    self._processes.close()
                    self._processes = Processes(self.threads)

    def frames(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """Frames (S, T, C) of mono samples (n,) at 24 kHz. Raises EncoderError for a song that cannot be encoded."""
        return average_frames(self.encoders.encode(samples)[self._rows], self.pool)

    def _decode(self, candidate: Candidate, known: Known) -> "Heard | _Samples":
        if candidate.path is None:
            return Heard(candidate=candidate, error="has no file; name one in the manifest")
        try:
            source = source_hash(candidate.path)
        except HearError as error:
            return Heard(candidate=candidate, error=str(error))
        if known(candidate, source):
            return Heard(candidate=candidate, source=source)
        request = ViewRequest(candidate.song_id, candidate.path, view=0, seed=0, longest=self._longest)
        # Not 0, which is as good as None: a song that is too late is ended at once.
        seconds = None if self.deadline is None else max(0.001, self.deadline.left)
        prepared = prepare_in(self._processes, request, seconds=seconds)
        if isinstance(prepared, FailedView):
            return Heard(candidate=candidate, source=source, error=prepared.error, too_long=prepared.too_long)
        # The hash of the file that was decoded, which may have been replaced since it was looked up.
        return _Samples(candidate, prepared.source.hash, prepared.samples, prepared.damage)

    def _encode(self, song: "Heard | _Samples") -> Heard:
        if isinstance(song, Heard):
            return song
        seconds = len(song.samples) / SAMPLE_RATE
        try:
            frames = self.frames(song.samples)
            if not np.isfinite(frames).all():
                raise HearError("its embeddings are not finite")
        except HearError as error:
            return Heard(candidate=song.candidate, source=song.source, seconds=seconds, error=str(error))
        return Heard(
            candidate=song.candidate,
            source=song.source,
            frames=frames,
            seconds=seconds,
            damage=song.damage,
            loudest=loudest_second(song.samples),
            outline=outline(song.samples),
        )


@dataclass(frozen=True)
class _Samples:
    """A decoded song: mono float32 (n,) at 24 kHz."""

    candidate: Candidate
    source: str
    samples: NDArray[np.float32]
    damage: Mapping[str, Any]


def outline(samples: NDArray[np.float32], points: int = OUTLINE_POINTS) -> NDArray[np.float32]:
    """Lowest and highest sample (2, P) of `points` equal parts of (n,) samples; fewer where there are fewer samples."""
    starts = np.linspace(0, len(samples), min(points, len(samples)), endpoint=False).astype(np.intp)
    return np.stack([np.minimum.reduceat(samples, starts), np.maximum.reduceat(samples, starts)])


class StoreSource:
    """Reads the clean view of songs.

    Parameters
    ----------
    store
        The embeddings.
    ensemble
        Whose streams to give.
    changed
        Songs whose files have changed since they were stored: their scores would be those of other songs.

    Raises
    ------
    HeadError
        The store's features are not what a head was trained on.
    """

    together = FRAMES_AT_ONCE

    def __init__(self, store: EmbeddingStore, ensemble: Ensemble, *, changed: Collection[str] = ()) -> None:
        for head in ensemble.heads:
            check_spec(head, store)
        self.store, self.changed = store, frozenset(changed)
        self.frame_rate = store.frame_rate
        spec = store.spec
        names = ("encoders", "precision", "dtype", "pool")
        self.identity = {name: getattr(spec, name) for name in names}
        self._streams = [store.streams[row] for row in stream_rows(ensemble.streams, store.streams, spec.layers)]

    def stream(self, candidates: Sequence[Candidate], known: Known) -> Iterator[Heard]:
        """Go through the songs."""
        return (self._read(candidate, known) for candidate in candidates)

    def _read(self, candidate: Candidate, known: Known) -> Heard:
        if candidate.song_id in self.changed:
            return Heard(
                candidate=candidate, error="its file has changed since it was extracted; run hear-extract again"
            )
        try:
            attributes = self.store.attributes(candidate.song_id)
            source = str(attributes.get("source", ""))
            if known(candidate, source):
                return Heard(candidate=candidate, source=source)
            frames = self.store.read(candidate.song_id, streams=self._streams)
        except HearError as error:
            return Heard(candidate=candidate, error=self._problem(candidate.song_id) or str(error))
        # A record's attributes are its writer's: anything may stand there.
        known_seconds = seconds_of(attributes)
        seconds = frames.shape[1] / self.frame_rate if known_seconds is None else float(known_seconds)
        damage = damage_of(attributes)
        level = attributes.get("loudest_dbfs")
        loudest = float(level) if isinstance(level, int | float) and not isinstance(level, bool) else None
        return Heard(candidate=candidate, source=source, frames=frames, seconds=seconds, damage=damage, loudest=loudest)

    def _problem(self, song: str) -> str:
        """Why a song cannot be had, if it is not here at all: its record's place would tell nobody."""
        if song in self.store.songs:
            return ""
        return f"no song {song!r} in the store; with --store name song ids"
