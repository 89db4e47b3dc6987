"""Sources of songs' frames: audio through the encoders, or a store."""

from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from stages.common.machine import default_readers
from stages.common.processes import Processes
from stages.extract.audio.loudness import loudest_second
from stages.extract.audio.reading import SAMPLE_RATE
from stages.extract.audio.source import source_hash
from stages.extract.audio.waveform import TooLongError, damage_of
from stages.extract.run import average_frames
from stages.extract.views.prepare import FailedView, SongRequest, prepare_in
from stages.head.checkpoint.ensemble import Ensemble
from stages.head.checkpoint.head import FRAMES_AT_ONCE
from stages.head.checkpoint.score import check_encoders, check_spec, stream_rows
from stages.scoring.beside.companions import NONE, Companions
from stages.scoring.clips import ArrayClip, FileClip, UnusableClip
from stages.scoring.deadline import Deadline
from stages.scoring.inputs import InputSong
from store import EmbeddingStore
from store.catalogue import seconds_of
from store.errors import HearError

if TYPE_CHECKING:
    from stages.extract.encoders import MultiScale

# Points of a waveform's outline: one per pixel of the plot.
OUTLINE_POINTS = 1_200


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


class AudioSource:
    """Decodes songs ahead, files in processes with time limits, and encodes one song at a time.

    Parameters
    ----------
    encoders
        With all streams that the ensemble needs.
    ensemble
        The heads to load frames for.
    threads
        Number of songs that are decoded ahead, each file in its own process; by default `default_readers`.
    longest
        Refuse songs that are longer than this many seconds, or have more samples than that much audio.
    beside
        Models that score beside the ensemble.

    Attributes
    ----------
    deadline
        When to stop decoding a song; None sets the limit by the file's size.

    Raises
    ------
    HeadError
        A head was trained on other encoders.
    """

    # Encoding takes far longer than scoring, so waiting for a batch gains nothing.
    batch_frames = 1

    def __init__(
        self,
        encoders: "MultiScale",
        ensemble: Ensemble,
        *,
        threads: int | None = None,
        longest: float | None = None,
        beside: Companions = NONE,
    ) -> None:
        for head in ensemble.heads:
            check_encoders(head, encoders)
        beside.check_heads(lambda head: check_encoders(head, encoders), pool=ensemble.pool, layers=encoders.layers)
        self.beside, self.streams = beside, beside.streams(ensemble)
        self.deadline: Deadline | None = None
        self._longest = longest
        self.encoders, self.threads = encoders, threads or default_readers()
        self._processes = Processes(self.threads)
        self.pool = ensemble.pool
        self.frame_rate = encoders.frame_rate / self.pool
        about = {"encoders": encoders.hashes, "precision": encoders.precision, "pool": self.pool}
        self.identity = {**about, **beside.identity}
        self._rows = stream_rows(self.streams, encoders.streams, encoders.layers)

    def load(self, songs: Iterable[InputSong], is_scored: IsScored) -> Iterator[LoadedSong]:
        """Load each song, except those that are scored already."""
        pending: deque[Future[LoadedSong | _DecodedSong]] = deque()
        with ThreadPoolExecutor(self.threads, thread_name_prefix="decode") as threads:
            try:
                for song in songs:
                    pending.append(threads.submit(self._decode, song, is_scored))
                    if len(pending) > self.threads:
                        yield self._encode(pending.popleft().result())
                while pending:
                    yield self._encode(pending.popleft().result())
            finally:
                # After Ctrl-C, or when the caller stops early, do not wait for songs that are being decoded.
                if pending:
                    threads.shutdown(wait=False, cancel_futures=True)
                    self._processes.close()
                    self._processes = Processes(self.threads)

    def frames(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """Frames (S, T, C) of mono samples (n,) at 24 kHz. Raises EncoderError for a song that cannot be encoded."""
        return average_frames(self.encoders.encode(samples)[self._rows], self.pool)

    def _decode(self, song: InputSong, is_scored: IsScored) -> "LoadedSong | _DecodedSong":
        clip = song.clip
        if isinstance(clip, UnusableClip):
            return LoadedSong(song=song, error=clip.error)
        if isinstance(clip, ArrayClip):
            return self._read_array(song, clip, is_scored)
        path = clip.path if isinstance(clip, FileClip) else song.path
        if path is None:
            return LoadedSong(song=song, error="has no file; add its path to the manifest")
        try:
            source = source_hash(path)
        except HearError as error:
            return LoadedSong(song=song, error=_without(path, str(error)))
        if is_scored(song, source):
            return LoadedSong(song=song, source=source)
        request = SongRequest(song.song_id, path, views=(0,), seed=0, longest=self._longest)
        # Not 0, which would mean None: a song that is too late must stop at once.
        seconds = None if self.deadline is None else max(0.001, self.deadline.remaining)
        (view,) = prepare_in(self._processes, request, seconds=seconds)
        if isinstance(view, FailedView):
            return LoadedSong(song=song, source=source, error=_without(path, view.error), too_long=view.too_long)
        # The hash of the bytes that were decoded: the file may have been replaced since it was hashed before.
        return _DecodedSong(song, view.samples, view.source.hash, view.loudest, view.damage)

    def _read_array(self, song: InputSong, clip: ArrayClip, is_scored: IsScored) -> "LoadedSong | _DecodedSong":
        source = clip.source
        if is_scored(song, source):
            return LoadedSong(song=song, source=source)
        try:
            samples = clip.read(longest=self._longest)
        except HearError as error:
            return LoadedSong(song=song, source=source, error=str(error), too_long=isinstance(error, TooLongError))
        return _DecodedSong(song, samples, source, loudest_second(samples))

    def _encode(self, decoded: "LoadedSong | _DecodedSong") -> LoadedSong:
        if isinstance(decoded, LoadedSong):
            return decoded
        samples = decoded.samples
        about: dict[str, Any] = {"song": decoded.song, "source": decoded.source, "seconds": len(samples) / SAMPLE_RATE}
        try:
            frames = self.frames(samples)
            if not np.isfinite(frames).all():
                raise HearError("its embeddings are not finite")
        except HearError as error:
            return LoadedSong(**about, error=str(error))
        return LoadedSong(
            **about,
            frames=frames,
            samples=samples if self.beside.needs_audio else None,
            damage=decoded.damage,
            loudest=decoded.loudest,
            outline=outline(samples),
        )


@dataclass(frozen=True, eq=False)
class _DecodedSong:
    """A decoded song: its clean view, float32 (n,), and what `LoadedSong` says of it."""

    song: InputSong
    samples: NDArray[np.float32]
    source: str
    loudest: float
    damage: Mapping[str, Any] = field(default_factory=dict)


def _without(path: Path, error: str) -> str:
    """A message without the path in front: tables and files show it in their own column."""
    return error.removeprefix(f"{path}: ")


def outline(samples: NDArray[np.float32], points: int = OUTLINE_POINTS) -> NDArray[np.float32]:
    """Lowest and highest sample (2, P) in each of P equal parts of (n,) samples; P is `points`, or n if less."""
    starts = np.linspace(0, len(samples), min(points, len(samples)), endpoint=False).astype(np.intp)
    return np.stack([np.minimum.reduceat(samples, starts), np.maximum.reduceat(samples, starts)])


class StoreSource:
    """Reads the clean views of songs from a store.

    Parameters
    ----------
    store
        The embeddings.
    ensemble
        The heads to load frames for.
    changed
        Ids of songs whose files have changed since they were stored. They fail: their stored frames are of other audio.
    beside
        Models that score beside the ensemble; those that need audio decode the songs' files.

    Raises
    ------
    HeadError
        A head was trained on other features than the store's.
    """

    batch_frames = FRAMES_AT_ONCE

    def __init__(
        self, store: EmbeddingStore, ensemble: Ensemble, *, changed: Collection[str] = (), beside: Companions = NONE
    ) -> None:
        for head in ensemble.heads:
            check_spec(head, store)
        beside.check_heads(lambda head: check_spec(head, store), pool=store.spec.pool, layers=store.spec.layers)
        self.beside, self.streams = beside, beside.streams(ensemble)
        self.store, self.changed = store, frozenset(changed)
        self.frame_rate = store.frame_rate
        spec = store.spec
        names = ("encoders", "precision", "dtype", "pool")
        self.identity = {**{name: getattr(spec, name) for name in names}, **beside.identity}
        self._streams = [store.streams[row] for row in stream_rows(self.streams, store.streams, spec.layers)]

    def load(self, songs: Iterable[InputSong], is_scored: IsScored) -> Iterator[LoadedSong]:
        """Load each song, except those that are scored already."""
        return (self._read(song, is_scored) for song in songs)

    def _read(self, song: InputSong, is_scored: IsScored) -> LoadedSong:
        if song.song_id in self.changed:
            return LoadedSong(song=song, error="its file has changed since it was extracted; run hear-extract again")
        try:
            attributes = self.store.attributes(song.song_id)
            source = str(attributes.get("source", ""))
            if is_scored(song, source):
                return LoadedSong(song=song, source=source)
            frames = self.store.read(song.song_id, streams=self._streams)
            if not np.isfinite(frames).all():
                raise HearError("its stored embeddings are not finite; remove its record and run hear-extract again")
        except HearError as error:
            known = song.song_id in self.store.songs
            # For an unknown song, the path of its record would not help.
            problem = str(error) if known else f"no song {song.song_id!r} in the store; with --store, name song ids"
            return LoadedSong(song=song, error=problem)
        # Attributes are untrusted: they may have any value.
        recorded = seconds_of(attributes)
        level = attributes.get("loudest_dbfs")
        return LoadedSong(
            song=song,
            source=source,
            frames=frames,
            seconds=frames.shape[1] / self.frame_rate if recorded is None else float(recorded),
            damage=damage_of(attributes),
            loudest=float(level) if isinstance(level, int | float) and not isinstance(level, bool) else None,
        )
